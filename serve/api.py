"""The Python API: a bundle, a task model or an encoder by its folder, asked for predictions and embeddings.

from serve.api import load

model = load("runs/export/bundle")        # or a run of python -m finetune, or of python -m pretrain
model.predict([{"report": "Diffuse glioma.", "record": {"age": 61, "sex": "F"}}])
model.embed(Cohort(Path("data/demo")))    # every patient of a prepared cohort
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from finetune.assemble import encoder_folder
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.lineage import trained_groups
from foundation.modalities.request import RequestForm
from foundation.run_record import walk
from serve import schema as bundle_schema
from serve.manifest import MODEL
from serve.reading import parse
from serve.schema import read_forms
from serve.verification import verify_bundle

Request = Mapping[str, Any]
Sample = dict[str, Any]
_CPU = torch.device("cpu")
_AT_ONCE = 16  # patients: each may have hundreds of images


class Model:
    """What a folder holds, ready to be asked.

    Args:
        encoder: of patients.
        task: head and all that goes with it; None of an encoder alone.
        forms: how requests say each modality; None where no data dictionary is at hand.
        modalities: that patients trained; no other is looked at, nor one that the task leaves out.
    """

    def __init__(
        self,
        encoder: MultimodalEncoder,
        task: TaskModel | None,
        forms: Mapping[str, RequestForm] | None,
        modalities: Sequence[str],
    ) -> None:
        self.encoder = encoder
        self.task = task
        self.forms = forms
        self.modalities = [name for name in modalities if task is None or name in task.task["modalities"]]
        encoder.look_at_all()

    def predict(self, patients: Sequence[Request] | Cohort, ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """A prediction a patient, with `modalities_used` and `reliability`; of a cohort with `patient`, too.

        Args:
            patients: requests, as the endpoint takes them; or a prepared cohort.
            ids: of the cohort's patients; all who have something that the task may look at if None.

        Raises:
            UserError: if the model has no head, or a patient nothing that it can read.
        """
        if self.task is None:
            raise UserError("predict: an encoder alone has no head; load a run of python -m finetune, or a bundle")
        answers = []
        for names, samples in _parts(self._samples(patients, ids)):
            for name, answer in zip(names, self.task.predict(samples), strict=True):
                answers.append(answer if name is None else {"patient": name, **answer})
        return answers

    @torch.no_grad()
    def embed(self, patients: Sequence[Request] | Cohort, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """The patient embedding, `[patients, width]`; rows are called by the cohort's ids, or numbered.

        Args:
            patients: as for `predict`.
            ids: likewise.
        """
        device = next(self.encoder.parameters()).device
        names: list[str | None] = []
        rows: list[torch.Tensor] = []
        for some, samples in _parts(self._samples(patients, ids)):
            usable = samples if self.task is None else [self.task.usable(sample) for sample in samples]
            rows.append(self.encoder(self.encoder.encode_samples(usable).to(device)).fused.float().cpu())
            names += some
        values = torch.cat(rows).numpy() if rows else torch.zeros(0, self.encoder.width).numpy()
        table = pd.DataFrame(values, columns=[f"dimension_{place}" for place in range(self.encoder.width)])
        if isinstance(patients, Cohort):
            table.index = pd.Index(names, name="patient_id")
        return table

    def read(self, request: Request) -> Sample:
        """A request as raw values by modality.

        Raises:
            UserError: naming the field that cannot be read.
        """
        if self.forms is None:
            raise UserError(
                "request: no data dictionary is known to this model, for no run that it comes from names a prepared "
                "cohort that is there; give a Cohort, or load a bundle"
            )
        sample, _, _ = read_forms(parse(dict(request) if isinstance(request, Mapping) else request), self.forms)
        return sample

    def _samples(
        self, patients: Sequence[Request] | Cohort, ids: Sequence[str] | None
    ) -> Iterator[tuple[str | None, Sample]]:
        if not isinstance(patients, Cohort):
            for place, request in enumerate(patients):
                try:
                    sample = self.read(request)
                    usable = sample if self.task is None else self.task.usable(sample)
                except UserError as error:
                    raise UserError(f"patient {place}: {error}") from error
                yield None, usable
            return
        has = (
            patients.patients[[name for name in self.modalities if name in patients.patients]].astype(bool).any(axis=1)
        )
        known = set(patients.patients.index)
        for name in patients.patients.index[has] if ids is None else ids:
            if name not in known:
                raise UserError(f"ids: {patients.name} has no patient of one of these ids; take them of its patients")
            sample = {key: value for key, value in patients.sample(name).items() if key in self.modalities}
            if not sample:
                raise UserError(
                    f"ids: one of these patients has none of {', '.join(self.modalities)}; leave that id out"
                )
            yield str(name), sample


def load(folder: Path | str, device: torch.device = _CPU) -> Model:
    """A model by its folder; no pickle on the way.

    Args:
        folder: a bundle of `python -m serve.export`, whose files are held against its manifest; the output of
            `python -m finetune`; or an encoder, alone or in the output of `python -m pretrain`.
        device: that answers.

    Raises:
        UserError: if it is none of these, or not as it was written.
    """
    folder = Path(folder)
    if (folder / bundle_schema.FILE).is_file():
        schema, _ = verify_bundle(folder)
        task = TaskModel.load(folder / MODEL).to(device)
        return Model(task.encoder, task, schema.modalities, list(schema.modalities))
    if (folder / "task.json").is_file():
        task = TaskModel.load(folder).to(device)
        return _model(task.encoder, task, folder)
    place, runs = encoder_folder(folder)
    encoder = MultimodalEncoder.from_pretrained(place).to(device)
    return _model(encoder, None, runs[0]) if runs else Model(encoder, None, None, list(encoder.modalities))


def _model(encoder: MultimodalEncoder, task: TaskModel | None, run: Path) -> Model:
    """By what a run's records tell: the modalities that patients trained, and the data dictionary of its cohort."""
    names = list(encoder.modalities)
    try:
        trained = trained_groups(record.content for record in walk(run))
        dictionary = Cohort.of_run(run).dictionary
    except UserError:  # runs or cohort lie elsewhere by now: patients of a cohort can be given all the same
        return Model(encoder, task, None, names)
    names = [name for name in names if name in trained]
    forms = {name: encoder.modalities[name].request_form(dictionary) for name in names}  # type: ignore[operator]
    return Model(encoder, task, forms, names)


def _parts(samples: Iterator[tuple[str | None, Sample]]) -> Iterator[tuple[list[str | None], list[Sample]]]:
    """In parts of a few patients."""
    names: list[str | None] = []
    part: list[Sample] = []
    for name, sample in samples:
        names.append(name)
        part.append(sample)
        if len(part) == _AT_ONCE:
            yield names, part
            names, part = [], []
    if part:
        yield names, part
