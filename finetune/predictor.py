"""A fine-tuned model, read back: the eager reference that evaluation and serving share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from finetune.aligned import aligned
from finetune.heads.base import Head
from finetune.reliability.module import Reading, Reliability
from finetune.subset_calibration import SubsetCalibration
from finetune.task_file import FILE, FORMAT, TaskFile
from foundation.batch import Batch
from foundation.documents import built_from, class_named, validated
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.files import read_json
from foundation.output import EncoderOutput
from foundation.tensors import load_weights

RELIABILITY = "reliability.safetensors"
SUBSETS = "subsets.safetensors"
_HEADS = "finetune.heads."
_ADVICE = "give the output folder of python -m finetune, as it was written"
_AT_ONCE = 16  # patients: each may have hundreds of images


class Answer(NamedTuple):
    """A prediction, and how far it can be relied on (`finetune.reliability`); None where nothing says it."""

    prediction: dict[str, Any]
    reliability: dict[str, Any] | None


class TaskModel:
    """Encoder, head and the task's description.

    Args:
        encoder: fine-tuned or frozen.
        head: with its calibration.
        task: `task.json`: name, kind, head, modalities and the inputs hidden because they hold the target.
        reliability: what says how far an answer can be relied on; None where nothing does.
        subsets: calibration by subset of modalities; None where the head's own is all.
    """

    def __init__(
        self,
        encoder: MultimodalEncoder,
        head: Head,
        task: dict[str, Any],
        reliability: Reliability | None = None,
        subsets: SubsetCalibration | None = None,
    ) -> None:
        self.reliability = reliability
        self.subsets = subsets
        self.encoder = encoder.eval()
        self.encoder.look_at_all()
        self.head = head.eval()
        self.task = task

    @classmethod
    def load(cls, folder: Path) -> "TaskModel":
        """Reads the output folder of `python -m finetune`; no pickle on the way.

        Raises:
            UserError: if a file is missing or names a class outside the heads' package.
        """
        path = folder / FILE
        content = read_json(path, _ADVICE)
        if content.get("format") != FORMAT:
            raise UserError(f"{path}: format {content.get('format')!r}, this release reads {FORMAT}")
        task = validated(TaskFile, content, path, _ADVICE)
        with built_from(path, "head.settings", _ADVICE):
            head = head_class(task.head.type, path)(**task.head.settings)
        load_weights(head, folder / "head.safetensors")
        reliability = None
        if task.reliability is not None:
            if task.reliability.modalities != task.modalities:
                raise UserError(f"{path}: reliability.modalities are not the task's modalities; {_ADVICE}")
            with built_from(path, "reliability", _ADVICE):
                reliability = Reliability(**task.reliability.model_dump())
            load_weights(reliability, folder / RELIABILITY)
        subsets = None
        if task.subsets is not None:
            if task.subsets.modalities != task.modalities:
                raise UserError(f"{path}: subsets.modalities are not the task's modalities; {_ADVICE}")
            with built_from(path, "subsets", _ADVICE):
                subsets = SubsetCalibration(**task.subsets.model_dump(exclude_none=True))
            load_weights(subsets, folder / SUBSETS)
        encoder = MultimodalEncoder.from_pretrained(folder / "encoder")
        foreign = next((name for name in task.modalities if name not in encoder.modalities), None)
        if foreign is not None:
            raise UserError(f"{path}: modalities: the encoder beside it has no '{foreign}'; {_ADVICE}")
        return cls(encoder, head, task.model_dump(exclude_none=True), reliability, subsets)

    def usable(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The part of a sample that the task may look at.

        Raises:
            UserError: if that is nothing.
        """
        shown = {
            name: self.encoder.modalities[name].hide(value, self.task["drop_inputs"])  # type: ignore[operator]
            for name, value in sample.items()
            if name in self.task["modalities"]
        }
        kept = {name: value for name, value in shown.items() if value is not None}
        if not kept:
            raise UserError(
                f"request: nothing that the task '{self.task['name']}' may look at in {', '.join(sample) or 'it'}; "
                f"give at least one of {', '.join(self.task['modalities'])}"
            )
        return kept

    def to(self, device: torch.device) -> "TaskModel":
        """The same model with its weights on a device; samples follow them there."""
        self.encoder.to(device)
        self.head.to(device)
        for part in (self.reliability, self.subsets):
            if part is not None:
                part.to(device)
        return self

    @torch.no_grad()
    def scores(self, samples: list[dict[str, Any]]) -> Tensor:
        """Raw scores `[patients, outputs]`."""
        usable = [self.usable(sample) for sample in samples]
        parts = [usable[start : start + _AT_ONCE] for start in range(0, len(usable), _AT_ONCE)]
        return torch.cat([self.score_batch(self.encoder.encode_samples(part)) for part in parts])

    @torch.no_grad()
    def score_batch(self, batch: Batch) -> Tensor:
        """The same of a batch of what the task may look at."""
        return self.differentiable_scores(batch)

    def differentiable_scores(self, batch: Batch) -> Tensor:
        """The same, through which gradients pass to the batch's inputs."""
        batch = batch.to(next(self.encoder.parameters()).device)
        if self.head.reads_features:
            scores: Tensor = self.head(self.encoder.features(batch, self.task["modalities"]))
        else:
            scores = self.scores_of(self._embedding(batch), self._present(batch))
        return scores

    @torch.no_grad()
    def scores_by_subset(self, batch: Batch, subsets: Sequence[Sequence[str]]) -> list[Tensor]:
        """Raw scores `[patients, outputs]` from each of some modalities, of one pass through the encoders.

        Who has none of a subset's modalities has a score all the same, which means nothing.
        """
        batch = batch.to(next(self.encoder.parameters()).device)
        names, present = self.task["modalities"], self._present(batch)
        if self.head.reads_features:
            return [self.head(features) for features in self._features_by_subset(batch, subsets)]
        output = self.encoder(batch)
        scores = []
        for some in subsets:
            shown = torch.tensor([name in some for name in names]).to(present.device)
            if self.head.reads_aligned:
                embedding = aligned(output, batch, some)
            else:
                tokens = {name: output.tokens[name] for name in some if name in output.tokens}
                embedding = self.encoder.fusion(tokens, {name: batch.rows(name) for name in tokens}, len(batch))
            scores.append(self.scores_of(embedding, present & shown))
        return scores

    @torch.no_grad()
    def readings_by_subset(self, batch: Batch, subsets: Sequence[Sequence[str]]) -> list[Reading]:
        """The same with what reliability looks at beside scores; features are computed where it does."""
        scores, present = self.scores_by_subset(batch, subsets), self._present(batch)
        names = self.task["modalities"]
        shown = [torch.tensor([name in some for name in names]).to(present.device) for some in subsets]
        if self.reliability is None:
            return [Reading(one, present & mask, one[:, :0]) for one, mask in zip(scores, shown, strict=True)]
        features = self._features_by_subset(batch, subsets)
        return [Reading(one, present & mask, part) for one, mask, part in zip(scores, shown, features, strict=True)]

    def _features_by_subset(self, batch: Batch, subsets: Sequence[Sequence[str]]) -> list[Tensor]:
        """Plain features `[patients, features]`, NaN of modalities that are none of a subset's."""
        names = self.task["modalities"]
        features = self.encoder.features(batch, names)
        owners = [name for name in names for _ in range(sum(self.encoder.feature_sizes([name]).values()))]
        hidden = [torch.tensor([owner not in some for owner in owners]).to(features.device) for some in subsets]
        return [features.masked_fill(mask, torch.nan) for mask in hidden]

    def scores_of(self, fused: Tensor, present: Tensor) -> Tensor:
        """Raw scores of embeddings, `[patients, outputs]`.

        Args:
            fused: `[patients, width]`.
            present: which of the task's modalities each rests on, `[patients, modalities]`.
        """
        scores: Tensor = self.head(fused)
        return scores if self.subsets is None else self.subsets(scores, present)

    @torch.no_grad()
    def read(self, batch: Batch) -> Reading:
        """The same batch with what reliability looks at beside scores."""
        batch = batch.to(next(self.encoder.parameters()).device)
        present, names = self._present(batch), self.task["modalities"]
        if self.head.reads_features:
            features = self.encoder.features(batch, names)
            return Reading(self.head(features), present, features)
        output, features = self.encoder.output_and_features(batch, names)
        return Reading(self.scores_of(self._embedded(output, batch), present), present, features)

    def answer(self, batch: Batch) -> list[Answer]:
        """Predictions of a batch of what the task may look at, and how far each can be relied on."""
        if self.reliability is None:
            return [Answer(prediction, None) for prediction in self.head.predict(self.score_batch(batch))]
        reading = self.read(batch)
        judged = self.reliability.judge(reading, self.head.regions())
        return [Answer(*pair) for pair in zip(self.head.predict(reading.scores), judged, strict=True)]

    def predict(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Calibrated predictions, each with the modalities that it rests on and how far it can be relied on."""
        usable = [self.usable(sample) for sample in samples]
        parts = [usable[start : start + _AT_ONCE] for start in range(0, len(usable), _AT_ONCE)]
        answers = [answer for part in parts for answer in self.answer(self.encoder.encode_samples(part))]
        return [
            {**answer.prediction, "modalities_used": list(sample), "reliability": answer.reliability}
            for answer, sample in zip(answers, usable, strict=True)
        ]

    def _embedding(self, batch: Batch) -> Tensor:
        """What the head reads of patients, `[patients, width]`."""
        return self._embedded(self.encoder(batch), batch)

    def _embedded(self, output: EncoderOutput, batch: Batch) -> Tensor:
        return aligned(output, batch, self.task["modalities"]) if self.head.reads_aligned else output.fused

    def _present(self, batch: Batch) -> Tensor:
        return torch.stack([batch.present[name] for name in self.task["modalities"]], dim=1)


def head_class(path: str, file: Path) -> type[Head]:
    """Only our own heads may be named by a file that came from outside."""
    head = class_named(path, _HEADS)
    if not (isinstance(head, type) and issubclass(head, Head)):
        raise UserError(f"{file}: head.type: {path!r} is no head under {_HEADS}*")
    return head
