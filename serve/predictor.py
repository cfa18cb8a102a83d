"""The serving core: a bundle that answers requests, whatever host carries them."""

import logging
import math
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from finetune.predictor import Answer, TaskModel
from foundation.errors import UserError
from foundation.modalities.base import Inputs
from foundation.modalities.request import RequestError
from foundation.release import installed_release
from serve.fhir.declaration import FhirDeclaration, load_declaration
from serve.manifest import MODEL
from serve.problems import internal_error, to_request_error
from serve.schema import BundleSchema, Digests, ExaminedPart, Patient, Response, read_request
from serve.verification import verify_bundle

if TYPE_CHECKING:  # a model that takes no FHIR need not load what reads it: a tenth of a worker's start
    from serve.fhir.reading import Reading

_CPU = torch.device("cpu")
_LOG = logging.getLogger(__name__)
Value = TypeVar("Value")


@dataclass
class _Prepared:
    """A request ready for the model."""

    patient: Patient
    inputs: dict[str, Inputs]
    examined: dict[str, ExaminedPart]


class Predictor:
    """A loaded bundle.

    Args:
        schema: of the bundle.
        model: what predicts.
        digests: of the bundle's files.
        fhir: what of a FHIR Bundle is which part of a request; None where nobody declared it.
    """

    def __init__(
        self, schema: BundleSchema, model: TaskModel, digests: Digests, fhir: FhirDeclaration | None = None
    ) -> None:
        self.schema = schema
        self.model = model
        self.digests = digests
        self.fhir = fhir
        self._release = installed_release()

    @classmethod
    def load(cls, bundle: Path, device: torch.device = _CPU) -> "Predictor":
        """Reads a bundle folder.

        Args:
            bundle: as `serve.export` wrote it.
            device: that answers.

        Raises:
            UserError: if it is none, or not as it was exported.
        """
        schema, digests = verify_bundle(bundle)
        return cls(schema, TaskModel.load(bundle / MODEL).to(device), digests, load_declaration(bundle))

    def answer(self, bodies: Sequence[Any], request_ids: Sequence[str] | None = None) -> list[Response | RequestError]:
        """Answers a batch of requests, each as if it were alone: none can fail or change another's answer.

        Args:
            bodies: JSON texts, or what they decoded to.
            request_ids: to echo, one a body; made here if not given.

        Returns:
            In order, an answer or a refusal each.
        """
        ids = request_ids or [str(uuid.uuid4()) for _ in bodies]
        prepared = [_guarded(self._prepare, body) for body in bodies]
        ready = [one for one in prepared if isinstance(one, _Prepared)]
        predictions = iter(self._predict(ready))
        return [
            self._respond(one, next(predictions), request_id) if isinstance(one, _Prepared) else one
            for one, request_id in zip(prepared, ids, strict=True)
        ]

    def read_fhir(self, body: Any) -> "Reading | RequestError":
        """What a FHIR Bundle says, or why it is not read."""
        if self.fhir is None:
            reason = "this model was exported without a declaration of FHIR"
            advice = "send its own form, as Content-Type: application/json, or ask for an export with fhir=..."
            return RequestError("Content-Type", reason, advice, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        from serve.fhir.reading import read_bundle

        return _guarded(read_bundle, body, self.fhir, self.schema)

    def write_fhir(self, reading: "Reading", response: Response) -> dict[str, Any] | RequestError:
        """The answer about what was read, as FHIR; a refusal where it cannot be written, which fails nobody else."""
        from serve.fhir.writing import write_bundle

        warnings = [*reading.warnings, *response.warnings]
        return _guarded(write_bundle, response.model_copy(update={"warnings": warnings}), reading)

    def guarded(self, do: Callable[..., Value], *arguments: Any) -> Value | RequestError:
        """What `do` makes of this predictor for one request, or its refusal: it fails nobody else's."""
        return _guarded(do, self, *arguments)

    def _prepare(self, body: Any) -> _Prepared:
        task = self.model.task
        patient = read_request(body, self.schema, task["modalities"])
        if not patient.sample:
            reason = f"nothing that the task '{self.schema.task}' may look at in {', '.join(patient.ignored)}"
            raise RequestError("request", reason, f"give at least one of {', '.join(task['modalities'])}")
        sample = self.model.usable(patient.sample)
        patient.ignored += [name for name in patient.sample if name not in sample]
        inputs = self.model.encoder.transform(sample)
        examined = {}
        for name, raw in sample.items():
            part = self.model.encoder.modalities[name].examined(raw, inputs[name])  # type: ignore[operator]
            if not part.examined:  # as of a report without a visible character: the answer would rest on nothing
                raise RequestError(name, f"no {part.what} in it", "send something to look at, or leave it out")
            of = patient.counts.get(name, part.of)
            examined[name] = ExaminedPart(what=part.what, examined=part.examined, of=of)
        return _Prepared(patient, inputs, examined)

    def _predict(self, ready: list[_Prepared]) -> list[Answer | RequestError]:
        """Together; one by one where that fails, so that the request that makes it fail fails alone."""
        if not ready:
            return []
        together = _guarded(self._predict_batch, ready)
        if not isinstance(together, RequestError):
            return list(together)
        if len(ready) == 1:
            return [together]
        alone = [_guarded(self._predict_batch, [one]) for one in ready]
        return [one if isinstance(one, RequestError) else one[0] for one in alone]

    @torch.inference_mode()
    def _predict_batch(self, ready: list[_Prepared]) -> list[Answer]:
        return self.model.answer(self.model.encoder.collate([one.inputs for one in ready]))

    def _respond(self, prepared: _Prepared, answer: Answer | RequestError, request_id: str) -> Response | RequestError:
        if isinstance(answer, RequestError):
            return answer
        if not _finite(answer):
            reason = "its values lead to no finite answer"
            return RequestError(", ".join(prepared.inputs), reason, "check values and units")
        return Response(
            request_id=request_id,
            model=self.schema.name,
            version=self.schema.version,
            release=self._release,
            digests=self.digests,
            task=self.schema.task,
            prediction=answer.prediction,
            reliability=answer.reliability,
            modalities_used=list(prepared.inputs),
            modalities_ignored=[name for name in self.schema.modalities if name in prepared.patient.ignored],
            examined=prepared.examined,
            warnings=prepared.patient.warnings,
            synthetic=self.schema.synthetic,
        )


def _guarded(do: Callable[..., Value], *arguments: Any) -> Value | RequestError:
    """What `do` returns, or its refusal; a failure that nobody foresaw is logged by place and kind alone."""
    try:
        return do(*arguments)
    except UserError as error:
        return to_request_error(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, it must stay this request's alone)
        place = traceback.extract_tb(error.__traceback__)[-1]
        # An error's own words may hold a patient's values.
        _LOG.error("%s at %s:%s", type(error).__name__, place.filename, place.lineno)
        return internal_error()


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_finite(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(_finite(inner) for inner in value)
    return not isinstance(value, float) or math.isfinite(value)
