"""Embeddings of patients elsewhere, as further negatives of alignment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foundation.errors import UserError

_LONGEST = 1.001  # unit length, with what single precision adds


@dataclass(frozen=True)
class Negatives:
    """Embeddings below each side of a table of likenesses; constants, partners of nobody.

    Attributes:
        left: `[negatives, width]`; none if None.
        right: likewise.
    """

    left: Tensor | None = None
    right: Tensor | None = None

    @property
    def least(self) -> int:
        """Pairs that a comparison needs: a lone one can be told from negatives, if there are any."""
        return 2 if self.left is None and self.right is None else 1


NO_NEGATIVES = Negatives()


def append_negatives(rows: Float[Tensor, "all width"], negatives: Tensor | None) -> Float[Tensor, "more width"]:
    """Rows to find a partner among, the negatives last; `rows` itself where there are none."""
    return rows if negatives is None else torch.cat([rows, negatives])


class Bank:
    """Negatives by modality.

    Neither parameters nor buffers: they are no part of the model, its state or its exchange between processes.

    Args:
        rows: by modality, `[negatives, width]`, of at most unit length.
        width: of the embeddings that they are held against.

    Raises:
        UserError: if they cannot stand beside the embeddings of this run.
    """

    def __init__(self, rows: Mapping[str, Tensor] | None = None, width: int = 0) -> None:
        self._rows: dict[str, Tensor] = {}
        for name, values in (rows or {}).items():
            if values.ndim != 2 or values.shape[1] != width:
                raise UserError(f"bank.{name}: shape {tuple(values.shape)}; give [rows, {width}], as this run embeds")
            embeddings = values.detach().float()
            if not bool(embeddings.isfinite().all()):
                raise UserError(f"bank.{name}: holds values that are no numbers; leave out the site that sent them")
            if len(embeddings) and float(embeddings.norm(dim=1).max()) > _LONGEST:
                raise UserError(f"bank.{name}: longer than 1; embeddings of patients are of unit length")
            if len(embeddings):
                self._rows[name] = embeddings

    def check(self, modalities: Iterable[str]) -> None:
        """Holds the names against an encoder's modalities.

        Raises:
            UserError: on a name that is none of them: nothing would ever be compared with it.
        """
        known = set(modalities)
        for name in self._rows:
            if name not in known:
                raise UserError(f"bank.{name}: no modality of this run; there are {', '.join(sorted(known))}")

    def beside(self, left: str | None, right: str | None, device: torch.device) -> Negatives:
        """The negatives of a pair of modalities; None for a side that has none by its nature.

        Args:
            left: modality.
            right: modality.
            device: where the embeddings are.
        """
        if not self._rows:
            return NO_NEGATIVES
        return Negatives(self._of(left, device), self._of(right, device))

    def _of(self, name: str | None, device: torch.device) -> Tensor | None:
        if name is None or name not in self._rows:
            return None
        self._rows[name] = self._rows[name].to(device)  # once, not at every step
        return self._rows[name]
