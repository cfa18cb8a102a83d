"""A hospital's answers to what the server asks for to say how far answers can be relied on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.features import FeatureCache
from finetune.federated.counts import count_slots
from finetune.federated.features import targets_of
from finetune.federated.novelty import AT_ONCE, FOLDER, MOMENTS, NOVELTY, NoveltyAnswers
from finetune.federated.reliability import REGIONS, SUBSET_TEMPERATURE, SUBSETS
from finetune.federated.temperature import calibration_sums
from finetune.patients import target_columns
from finetune.reliability.fit import subsets_of, threshold_cells
from finetune.reliability.module import Reliability, blocks_of
from finetune.reliability.quantiles import counts_at_most
from finetune.reliability.steps import subset_scores
from finetune.subset_calibration import SubsetCalibration, pooled_logits
from foundation.errors import UserError
from foundation.federation.sums import SiteSums
from foundation.federation.weights.types import Weights
from foundation.files import read_json, replacing_folder, write_json
from foundation.tensors import add_weights, read_tensors, write_tensors

if TYPE_CHECKING:
    from finetune.federated.module import FederatedModule
    from finetune.federated.task import Finetuning

_SCORES, _FEATURES = "scores", "features"  # in a site's own folder
_AGAIN = "install one release everywhere"
_ANEW = "remove the folder, and they are computed anew"


class ReliabilityAnswers:
    """What a hospital says of one model.

    Args:
        task: of the site.
        weights: of the model; none where a question needs none.
    """

    def __init__(self, task: Finetuning, weights: Weights) -> None:
        self.task = task
        self.module: FederatedModule = task.placed(weights) if weights else task.build()
        self.modalities = [str(name) for name in task.cfg.data.modalities]

    def answer(self, name: str, question: Weights) -> SiteSums:
        """The sums of a name.

        Raises:
            UserError: if what is asked for cannot be.
        """
        if name == MOMENTS:
            return self._novelty().moments(question)
        if name == NOVELTY:
            return self._novelty("edges" in question).answer(question)
        answers = {SUBSETS: self._subsets, SUBSET_TEMPERATURE: self._temperature, REGIONS: self._regions}
        return answers[name](question)

    @torch.no_grad()
    def _subsets(self, question: Weights) -> SiteSums:
        part, head = self.task.validation, self.module.head
        columns = target_columns(part.cohort, part.patients, head)
        there = [np.ones(len(part), dtype=bool), *(~scores.isnan().any(dim=1).numpy() for scores in self._scores())]
        rows = [count_slots(head.count({name: column[who] for name, column in columns.items()}), {}) for who in there]
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return SiteSums(arrays, len(part), tuple(name for name, sums in arrays.items() if sums.dtype.kind in "iu"))

    @torch.no_grad()
    def _temperature(self, question: Weights) -> SiteSums:
        part, head, scores = self.task.validation, self.module.head.double(), self._scores()
        places, targets = question["places"].astype(np.int64), targets_of(part)
        if not len(places) or places.min() < 0 or places.max() >= len(scores) or len(question["theta"]) % len(places):
            raise UserError(f"{SUBSET_TEMPERATURE}: asked for subsets of modalities that there are not; {_AGAIN}")
        sums = []
        for place, theta in zip(places, np.split(question["theta"].astype(np.float64), len(places)), strict=True):
            there = ~scores[place].isnan().any(dim=1)
            known = {name: column[there] for name, column in targets.items()}
            sums.append(calibration_sums(head, pooled_logits(head, scores[place][there]), known, theta))
        arrays = {name: np.concatenate([some[name] for some in sums]) for name in sums[0]}
        return SiteSums(arrays, len(part), ("patients",))

    @torch.no_grad()
    def _regions(self, question: Weights) -> SiteSums:
        part, head, scores = self.task.validation, self.module.head.double(), self._scores()
        regions, names = head.regions(), subsets_of(self.modalities)
        if regions is None:
            raise UserError(f"{REGIONS}: the task '{self.task.cfg.task.name}' has no sets or intervals; {_AGAIN}")
        edges, cells = question["edges"], regions.alternatives + len(regions.groups)
        if edges.shape[1:] != (len(names), cells) or not 0 < len(edges) <= AT_ONCE or np.isnan(edges).any():
            raise UserError(f"{REGIONS}: asked to count below other than one to {AT_ONCE} numbers; {_AGAIN}")
        subsets = SubsetCalibration(self.modalities, self._outputs).double()
        for name in ("scale", "shift"):
            buffer = getattr(subsets, name)
            if question[name].shape != tuple(buffer.shape):
                raise UserError(f"{REGIONS}: another calibration than this model's was sent; {_AGAIN}")
            buffer.copy_(torch.tensor(question[name]))
        columns: list[NDArray[Any]] = []
        for some, raw in zip(names, scores, strict=True):
            columns += threshold_cells(regions, subsets.of_subset(raw, some), targets_of(part))
        counted = counts_at_most(columns, edges.reshape(len(edges), -1)).reshape(edges.shape)
        return SiteSums({"patients": counted}, len(part), ("patients",))

    @property
    def _outputs(self) -> int:
        return int(self._scores()[0].shape[1])

    def _scores(self) -> list[Tensor]:
        """By subset of modalities, raw scores of validation patients, `[patients, outputs]`, NaN for who lacks one.

        In double precision, so that a patient's does not depend on who is beside in a batch. The latest model's are
        kept, for one fit asks for them again and again.
        """
        part, module = self.task.validation, self.module
        names = subsets_of(self.modalities)
        folder = None if self.task.home is None else self.task.home / _SCORES
        digest = self._digest()
        if folder is not None and (folder / "of.json").is_file():
            kept = read_json(folder / "of.json", _ANEW, "digest")["digest"]
            if kept == digest:
                return list(read_tensors(folder / "scores.safetensors", _ANEW)["scores"].unbind())
        if len(part):
            encoder, head = module.encoder.double(), module.head.double().eval()
            with encoder.looking_at_all():
                of = subset_scores(encoder.eval(), head, part)
                scores = torch.stack([of(some) for some in names])
        else:
            width = module.head.double()(torch.zeros(0, module.encoder.width, dtype=torch.float64)).shape[1]
            scores = torch.zeros(len(names), 0, width, dtype=torch.float64)
        if folder is not None:
            with replacing_folder(folder) as temporary:
                write_tensors(temporary / "scores.safetensors", {"scores": scores})
                write_json(temporary / "of.json", {"digest": digest})
        return list(scores.unbind())

    def _digest(self) -> str:
        """Of all that the raw scores depend on."""
        part, digest = self.task.validation, hashlib.sha256()
        add_weights(digest, self.module.encoder)
        add_weights(digest, self.module.head.score)
        about = [part.cohort.digest, part.patients, part.modalities, part.drop_inputs]
        digest.update(json.dumps(about, sort_keys=True).encode())
        return digest.hexdigest()

    def _novelty(self, counts_alone: bool = False) -> NoveltyAnswers:
        """Of features of the site's train and validation patients, kept where embeddings are."""
        task, encoder = self.task, self.module.encoder
        train, validation = task.dataset("train"), task.validation
        patients = [*train.patients, *validation.patients]
        sizes = {name: encoder.feature_sizes([name]) for name in self.modalities}
        module = Reliability(self.modalities, blocks_of(sizes), 0)
        features = None
        if not counts_alone:
            folder = None if task.embeddings is None else task.embeddings.parent / _FEATURES
            cache = FeatureCache(folder, encoder, task.cohort, train.drop_inputs)
            features = cache.of(patients, self.modalities)
        assert task.home is not None
        unseen = np.arange(len(patients)) >= len(train)
        return NoveltyAnswers(module, features, unseen, Path(task.home) / FOLDER)
