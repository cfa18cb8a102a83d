"""The serving core: a bundle that answers requests, whatever host carries them."""

from pathlib import Path
from typing import Any

import torch

from finetune.predictor import TaskModel
from foundation.errors import UserError
from serve import manifest
from serve.schema import BundleSchema, Patient, Response, read_request

MODEL = "model"
_CPU = torch.device("cpu")


class Predictor:
    """A loaded bundle.

    Args:
        schema: of the bundle.
        model: what predicts.
    """

    def __init__(self, schema: BundleSchema, model: TaskModel) -> None:
        self.schema = schema
        self.model = model

    @classmethod
    def load(cls, bundle: Path, device: torch.device = _CPU) -> "Predictor":
        """Reads a bundle folder.

        Args:
            bundle: as `serve.export` wrote it.
            device: that answers.

        Raises:
            UserError: if it is none, or not as it was exported.
        """
        manifest.verify(bundle)
        return cls(BundleSchema.load(bundle), TaskModel.load(bundle / MODEL).to(device))

    def answer(self, bodies: list[Any]) -> list[Response | UserError]:
        """Answers a batch of requests; one that cannot be read gets its error and spoils no other.

        Args:
            bodies: JSON texts, or what they decoded to.
        """
        read = [self._read(body) for body in bodies]
        patients = [patient for patient in read if isinstance(patient, Patient)]
        with torch.inference_mode():
            predictions = iter(self.model.predict([patient.sample for patient in patients]) if patients else [])
        return [
            self._respond(patient, next(predictions)) if isinstance(patient, Patient) else patient for patient in read
        ]

    def _read(self, body: Any) -> Patient | UserError:
        try:
            patient = read_request(body, self.schema)
            self.model.usable(patient.sample)
        except UserError as error:
            return error
        return patient

    def _respond(self, patient: Patient, prediction: dict[str, Any]) -> Response:
        values = dict(prediction)
        used = list(values.pop("modalities_used", patient.sample))
        return Response(
            model=self.schema.name,
            version=self.schema.version,
            task=self.schema.task,
            prediction=values,
            modalities_used=used,
            modalities_ignored=[name for name in patient.sample if name not in used],
            warnings=patient.warnings,
            synthetic=self.schema.synthetic,
        )
