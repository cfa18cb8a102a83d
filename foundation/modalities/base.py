"""The base of modalities: what each offers the encoder, the data module and the server."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from foundation.data.dictionary import DataDictionary
from foundation.masks import on_host
from foundation.modalities.pooling import pool
from foundation.modalities.request import RequestForm

Inputs = dict[str, Tensor]


class Tokens(NamedTuple):
    """A modality's tokens: values `[present, tokens, width]`, mask `[present, tokens]` (true = real)."""

    values: Float[Tensor, "present tokens width"]
    mask: Bool[Tensor, "present tokens"]


class Views(NamedTuple):
    """Two views of the same patients that share as little as possible.

    Attributes:
        one: tokens of the patients who have two.
        other: of the same patients.
        who: those among the present, `[present]`.
    """

    one: Tokens
    other: Tokens
    who: Bool[Tensor, " present"]


class Examined(NamedTuple):
    """How much of a patient's modality was looked at.

    Attributes:
        what: is counted, such as `images`.
        examined: how many of them were looked at.
        of: how many there were.
    """

    what: str
    examined: int
    of: int


class Modality(nn.Module, ABC):
    """Input, transform and encoder of one modality.

    Args:
        width: of the tokens and embeddings handed to fusion and alignment.
        pooling: of the tokens to the embedding, `gated` or `transformer`.

    Attributes:
        parts: what of a value is counted, such as `images`; see `examined`.
        several: whether patients differ in how many parts they have, along the first dimension of each of `Inputs`.
        looks_at_all: whether `transform` keeps, without a generator, what the bound at inference allows rather than as
            many parts as in training.
    """

    name: ClassVar[str]
    parts: ClassVar[str]
    several: ClassVar[bool] = False
    looks_at_all = False

    def __init__(self, width: int, pooling: str = "gated") -> None:
        super().__init__()
        self.width = width
        self.pooling = pooling
        self.pool = pool(pooling, width, f"modality.{self.name}")
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    @classmethod
    def needs(cls, dictionary: DataDictionary) -> dict[str, Any]:
        """Constructor arguments that come from the cohort's data dictionary rather than from config."""
        return {}

    @classmethod
    def learn(cls, settings: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        """Constructor arguments that come from the training patients, such as a vocabulary.

        Args:
            settings: the modality's in the config.
            values: raw, a training patient's each; read only where they are wanted.
        """
        return {}

    def coverage(self, values: Iterable[Any]) -> dict[str, Any]:
        """How much of raw values is read, as plain values for a run record; empty where all of it always is."""
        return {}

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them; bulky ones are assets instead."""
        return {"width": self.width, "pooling": self.pooling}

    def check_cohort(self, dictionary: DataDictionary, cohort: str) -> None:
        """Refuses a cohort in whose vocabulary the modality was not trained.

        Args:
            dictionary: of the cohort.
            cohort: its name, for the error.

        Raises:
            UserError: naming the difference.
        """

    @abstractmethod
    def request_form(self, dictionary: DataDictionary) -> RequestForm:
        """What a request to a served model must hold, for a model trained on a cohort of that dictionary."""

    def hide(self, raw: Any, hidden: dict[str, list[str]]) -> Any:
        """A raw value without the inputs that hold a task's target, as `Storage.hide`; None where nothing is left."""
        return raw

    @abstractmethod
    def transform(self, raw: Any, generator: torch.Generator | None) -> Inputs:
        """One patient's raw value as tensors; with a generator, augmented and corrupted for training."""

    def bound(self, training: int, inference: int, generator: torch.Generator | None) -> int:
        """How many parts of a value `transform` keeps at most, of the two numbers that a modality is set to."""
        return inference if self.looks_at_all and generator is None else training

    def examined(self, raw: Any, inputs: Inputs) -> Examined:
        """How much of a raw value its inputs hold, as `transform` made them."""
        count = int(inputs["mask"].sum())
        return Examined(self.parts, count, count)

    @abstractmethod
    def blank(self) -> Any:
        """The smallest raw value that `transform` takes: nothing is known of this patient."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tokens:
        """Tokens of the present patients."""

    def views(self, inputs: Inputs, tokens: Tokens) -> Views | None:
        """Two views of each patient, drawn at random; None for a modality that has none to offer.

        Args:
            inputs: of the present patients.
            tokens: that `forward` made of them.
        """
        return None

    def count_tokens(self, inputs: Inputs) -> int:
        """Tokens that a batch of this modality holds."""
        return int(on_host(inputs["mask"]).sum())

    def observe(self, inputs: Inputs | None) -> None:
        """Notes running statistics of a whole training batch, before any part of it is encoded.

        Called at every step; `inputs` is None where this process's batch lacks the modality, though another's may not.
        """

    def collate(self, patients: list[Inputs]) -> Inputs:
        """Stacks patients; sets of different size (tiles, words) are padded, with `mask` true where real."""
        names = patients[0].keys()
        return {name: nn.utils.rnn.pad_sequence([p[name] for p in patients], batch_first=True) for name in names}

    def embed(self, tokens: Tokens) -> Float[Tensor, "present width"]:
        """The unit-length embedding that alignment compares."""
        return functional.normalize(self.project(self.pool(tokens.values, tokens.mask)), dim=-1)

    def feature_sizes(self) -> dict[str, int]:
        """The blocks of `features`, by name, and how many numbers each has."""
        return {self.name: self.width}

    def features(self, inputs: Inputs) -> dict[str, Float[Tensor, "present size"]]:
        """Plain features by block, for linear models that read each block by itself: NaN where not measured.

        A patient of whom nothing in a block was measured does not have that block. What a modality knows without having
        been trained on patients belongs here: features of a backbone, measured values, words; here the embedding.
        """
        return {self.name: self.embed(self(inputs))}

    def tokens_and_features(self, inputs: Inputs) -> tuple[Tokens, dict[str, Float[Tensor, "present size"]]]:
        """`forward` and `features` of the same inputs, in evaluation, of one pass through what is costly."""
        tokens = self(inputs)
        if type(self).features is Modality.features:
            return tokens, {self.name: self.embed(tokens)}
        return tokens, self.features(inputs)

    def save_assets(self, folder: Path) -> None:
        """Writes vocabularies that do not belong in `config.json`."""

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "Modality":
        """Rebuilds the modality, without weights, from an encoder folder."""
        return cls(**settings)


def halves(tokens: Tokens) -> Views:
    """Two random halves of each patient's tokens; the first has the odd one."""
    values, mask = tokens
    count = mask.sum(dim=1, keepdim=True)
    rank = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2).argsort(dim=1).argsort(dim=1)
    first = rank < (count + 1) // 2
    who = count[:, 0] > 1
    return Views(Tokens(values[who], (mask & first)[who]), Tokens(values[who], (mask & ~first)[who]), who)
