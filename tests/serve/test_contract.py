"""What the JSON Schema of a request accepts is read, and what is read it accepts."""

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from foundation.errors import UserError
from foundation.modalities.genomics.request import GenesForm
from foundation.modalities.image_request import ImagesForm
from foundation.modalities.pathology.request import FeaturesForm
from foundation.modalities.record.request import Column, ColumnsForm
from foundation.modalities.report.request import TextForm
from serve.schema import BundleSchema, read_request

SCHEMA = BundleSchema.model_construct(
    modalities={
        "pathology": FeaturesForm(dim=2),
        "radiology": ImagesForm(size=32),
        "genomics": GenesForm(genes=["TP53", "EGFR"], unit="log2_tpm"),
        "report": TextForm(),
        "record": ColumnsForm(
            columns=[
                Column(name="age", kind="continuous", center=60, scale=12, seen=(40, 80)),
                Column(name="sex", kind="categorical", values=["F", "M"]),
            ]
        ),
    }
)
VALIDATOR = Draft202012Validator(SCHEMA.describe_request())


def png() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


JUNK = st.sampled_from([None, True, False, 0, -1, 1e7, -1e39, 10**50, "", " ", "x", [], [None], {}, {"x": 1}, "F", "M"])
NO_NAMES = JUNK.filter(lambda value: value != {"x": 1})  # whether a name is a gene's, no schema says
NUMBER = st.one_of(st.floats(0, 30), st.integers(0, 1), st.none(), JUNK)
GENES = st.dictionaries(st.sampled_from(["TP53", "EGFR", "TP53|" + "x" * 196]), NUMBER, max_size=2)
# Of the unit alone values are held to more than a schema can say.
MEASURED = st.dictionaries(
    st.sampled_from(["TP53", "EGFR"]), st.one_of(st.floats(0, 30), st.none(), st.sampled_from(["", True, [], {}]))
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "pathology": st.lists(st.lists(NUMBER, min_size=1, max_size=3) | JUNK, max_size=2),
    "radiology": st.lists(st.sampled_from([png(), "", 3, None, True, {}]), max_size=3),
    "genomics": st.fixed_dictionaries(
        {},
        optional={
            "unit": st.sampled_from(["log2_tpm", "log2_tpm", "furlong", None, 3]),
            "expression": MEASURED,
            "mutations": GENES | NO_NAMES,
            "copy_number": GENES | NO_NAMES,
            "methylation": GENES,
        },
    ),
    "report": st.text(alphabet=" \t\n\u2003\x1fa", max_size=3),
    "record": st.fixed_dictionaries(
        {}, optional={"age": st.floats(-13_000, 13_000) | JUNK, "sex": JUNK, "stage": JUNK | st.just("I")}
    ),
}
REQUESTS = st.fixed_dictionaries(
    {}, optional={name: value | NO_NAMES for name, value in VALUES.items()} | {"notes": JUNK}
).map(lambda content: {name: value for name, value in content.items() if not (name == "radiology" and value == ["x"])})


def refusal(content: Any) -> str | None:
    try:
        read_request(json.dumps(content), SCHEMA)
    except UserError as error:
        return str(error)
    return None


@given(REQUESTS)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_schema_and_reader_agree(content: dict[str, Any]):
    refused = refusal(content)
    assert VALIDATOR.is_valid(content) == (refused is None), refused


@pytest.mark.parametrize("name", list(VALUES))
def test_they_agree_on_every_modality_alone(name: str):
    seen = set()

    @given(VALUES[name])
    @settings(max_examples=200, deadline=None)
    def agree(value: Any) -> None:
        valid = VALIDATOR.is_valid({name: value})
        seen.add(valid)
        assert valid == (refusal({name: value}) is None), refusal({name: value})

    agree()
    assert seen == {True, False}


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA.describe_request())
    Draft202012Validator.check_schema(SCHEMA.model_copy(update={"prediction": {"type": "object"}}).describe_response())
