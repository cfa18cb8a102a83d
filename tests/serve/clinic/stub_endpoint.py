"""An endpoint whose answer follows from the request alone, so that an answer about other data shows."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from foundation.modalities.image_request import ImagesForm
from foundation.modalities.request import RequestForm
from serve.clinic.contract import Contract
from serve.conversation import Patient
from serve.explained import Explanation, ImageChanges
from serve.schema import BundleSchema, Digests, ExaminedPart, Response

CONTRACT = "c" * 64


def percent_of(body: bytes) -> float:
    """What the stub answers to a request: 0 to 100, another for another request."""
    return int.from_bytes(hashlib.sha256(body).digest()[:4]) % 10_000_000 / 100_000


def contract(modalities: Mapping[str, RequestForm] | None = None, digest: str = CONTRACT) -> Contract:
    forms = modalities or {"radiology": ImagesForm(size=32)}
    schema = BundleSchema(name="toy", version="v1", task="tumour", prediction={}, synthetic=True, modalities=forms)
    return Contract(schema, digest)


class StubEndpoint:
    """Answers at once.

    Attributes:
        asked: bodies, in order.
        change: makes another response of the one that it would give, or raises.
    """

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.change: Callable[[Response], Response] = lambda response: response

    async def predict(self, patient: Patient, request_id: str | None = None) -> Response:
        assert isinstance(patient, bytes)
        self.asked.append(patient)
        count = sum(map(len, json.loads(patient).values()))
        chance = percent_of(patient) / 100
        return self.change(
            Response(
                request_id=str(request_id),
                model="toy",
                version="v1",
                release="0.1.0",
                digests=Digests(model="m" * 64, contract=CONTRACT),
                task="tumour",
                prediction={"class": "present", "probabilities": {"absent": 1 - chance, "present": chance}},
                reliability={"abstain": False, "region": ["present"], "coverage": 0.9},
                modalities_used=["radiology"],
                modalities_ignored=[],
                examined={"radiology": ExaminedPart(what="images", examined=count, of=count)},
                warnings=[],
                synthetic=True,
            )
        )

    async def explain(self, patient: Patient, request_id: str | None = None) -> Explanation:
        changes = [[0.0, 0.2], [-0.4, 0.0]]
        return Explanation(
            request_id=str(request_id),
            model="toy",
            version="v1",
            explained="probability of present",
            value=0.5,
            modalities=[],
            parts={},
            images=[ImageChanges(field="radiology[1]", changes=changes)],
            faithfulness={},
            not_looked_at={},
        )

    async def close(self) -> None:
        """Has nothing to end."""


def numbers(report: Any) -> dict[str, float]:
    """What a structured report measures, by name."""
    values: dict[str, float] = {}
    for item in report.get("ContentSequence", []):
        if item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
            values[item.ConceptNameCodeSequence[0].CodeMeaning] = float(measured.NumericValue)
        values |= numbers(item)
    return values


def texts(report: Any) -> list[str]:
    """Its lines for people."""
    items = report.ContentSequence
    return [str(item.TextValue) for item in items if (item.ValueType, item.RelationshipType) == ("TEXT", "CONTAINS")]


def present(body: bytes) -> Any:
    """What a report of that request must say, as far as its decimals go."""
    return pytest.approx(percent_of(body), abs=1e-9)
