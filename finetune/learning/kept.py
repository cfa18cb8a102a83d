"""What a run leaves for one that goes on from it: a memory of its patients, or what they told of its weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from finetune.embeddings import EmbeddedCohort, encode
from finetune.heads.base import Targets
from finetune.learning.information import FILE, Information, curvature
from finetune.learning.memory import FOLDER, Memory
from finetune.learning.pull import trainable
from finetune.module import FinetuneModule
from foundation.batch import Batch
from foundation.data.dataset import CohortModule, Collate, PatientDataset
from foundation.data.sampler import generator_of
from foundation.errors import UserError
from foundation.tensors import digest_of_weights


@dataclass(frozen=True)
class Settings:
    """The config's `keeps`.

    Args:
        memory: patients whose embeddings, by the encoder as it is in the end, and targets stay, at most.
        information: whether what patients told of each weight stays, as a sum.

    Raises:
        UserError: naming the setting that cannot be.
    """

    memory: int = 0
    information: bool = False

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise UserError(f"keeps.memory: found {self.memory}; give a count of patients, 0 for none")

    def check(self, private: bool) -> None:
        """Holds a run to what keeping needs, before anything is trained.

        Args:
            private: whether it trains under differential privacy.

        Raises:
            UserError: if nothing of a patient may stay.
        """
        if private and (self.memory or self.information):
            raise UserError(
                "keeps: private training lets nothing of a patient stay but noisy gradients; leave keeps off"
            )


def keep(
    settings: Settings,
    module: FinetuneModule,
    train: PatientDataset,
    data: CohortModule,
    output: Path,
    release: Path | None,
    seed: int,
) -> None:
    """Writes it into the run's folder, with what the release kept from which the run goes on, if it does.

    Args:
        settings: of what is kept.
        module: with its best weights.
        train: patients of the run.
        data: their batches.
        output: the run's folder.
        release: the folder of the release; None where the run began anew.
        seed: of who is remembered.
    """
    if not settings.memory and not settings.information:
        return
    module.eval()
    fused = _embedded(module, train, data) if settings.memory or module.frozen else None
    targets = _targets(train)
    if settings.memory:
        assert fused is not None
        generator = generator_of(seed, "memory")
        ours = Memory(train.patients, fused, targets, len(train), digest_of_weights(module.encoder))
        earlier = Memory.read(release) if release is not None and (release / FOLDER).is_dir() else None
        both = (
            ours.sample(settings.memory, generator)
            if earlier is None
            else earlier.joined(ours, settings.memory, generator)
        )
        both.write(output)
    if settings.information:
        ours_told = information(module, train, fused if module.frozen else None, targets)
        if release is not None and (release / FILE).is_file():
            ours_told = Information.read(release).on(trainable(module), release) + ours_told
        ours_told.write(output)


def _targets(train: PatientDataset) -> Targets:
    rows = [train.targets_of(patient) for patient in train.patients]
    return {name: torch.tensor([row[name] for row in rows]) for name in train.targets}


def _embedded(module: FinetuneModule, train: PatientDataset, data: CohortModule) -> Tensor:
    """Embeddings of all that each patient has, `[patients, width]`."""
    if isinstance(data, EmbeddedCohort):
        rows = data.embedded(train)
        return torch.stack([rows[place]["fused"] for place in range(len(rows))])
    keys = [(patient, tuple(train.modalities_of(patient))) for patient in train.patients]
    return torch.stack(list(encode(module.encoder, [train], keys, data.batch_size).values()))


def information(module: FinetuneModule, train: PatientDataset, fused: Tensor | None, targets: Targets) -> Information:
    """What patients tell of the weights that a run trains.

    Args:
        module: with its best weights.
        train: patients.
        fused: their embeddings, of a frozen encoder; None where the encoder was trained.
        targets: theirs.
    """
    weights = trainable(module)
    collate = Collate(module.encoder, train=False, seed=0)

    def score(place: int) -> Tensor:
        batch = collate([train[place]]) if fused is None else Batch([], {}, {}, fused=fused[place : place + 1])
        scores: Tensor = module.head(module.embed(batch))
        return scores[0]

    with torch.no_grad():
        scores = torch.stack([score(place) for place in range(len(train))])
    total = Information.nobody(weights)
    for place, matrix in enumerate(curvature(module.head, scores, targets)):
        variance, axes = torch.linalg.eigh(matrix)
        root = (axes * variance.clamp(min=0).sqrt()).T  # `[outputs, outputs]`: root' root is the matrix
        outputs = [
            torch.autograd.grad(output, list(weights.values()), retain_graph=True, allow_unused=True)
            for output in score(place).unbind()
        ]
        jacobian = torch.stack(
            [
                torch.cat([_flat(slope, weight) for slope, weight in zip(slopes, weights.values(), strict=True)])
                for slopes in outputs
            ]
        )
        total = total.add(1, root @ jacobian)
    return total


def _flat(slope: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros(weight.numel()) if slope is None else slope.flatten()
