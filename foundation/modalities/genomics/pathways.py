"""Genomics by pathway: a token a gene set."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.errors import UserError
from foundation.modalities.genomics.encoder import Genomics


class PathwayGenomics(Genomics):
    """As `Genomics`, but each token attends to the genes of one pathway alone (after SurvPath, Jaume et al. 2024).

    A pathway of which nothing was measured in a patient is no token of theirs.

    Args:
        width: of the tokens.
        genes: symbols, one a position of every channel.
        gmt: a GMT file: a line a gene set, `name`, `description` and symbols, separated by tabs.
        fewest: genes of a set that the cohort must know, or the set is left out.
        sets: set by `load`: members by name.
        mask_ratio: see `Genomics`.
        pooling: see `Genomics`.
    """

    member: Tensor

    def __init__(
        self,
        width: int,
        genes: list[str],
        gmt: str | None = None,
        fewest: int = 5,
        sets: dict[str, list[str]] | None = None,
        mask_ratio: float = 0.2,
        pooling: str = "gated",
    ) -> None:
        sets = sets or _known(read_gmt(Path(str(gmt))), genes, fewest, str(gmt))
        super().__init__(width, genes, latents=len(sets), mask_ratio=mask_ratio, pooling=pooling)
        self.sets = sets
        self.fewest = fewest
        position = {gene: index for index, gene in enumerate(genes)}
        member = torch.zeros(len(sets), len(genes), dtype=torch.bool)
        for row, members in enumerate(sets.values()):
            member[row, [position[gene] for gene in members]] = True
        self.register_buffer("member", member, persistent=False)

    def settings(self) -> dict[str, Any]:
        kept = super().settings() | {"fewest": self.fewest}
        return {name: value for name, value in kept.items() if name != "latents"}

    def reach(self, known: Tensor) -> Tensor:
        return known[:, None] & self.member

    def token_mask(self, reach: Tensor) -> Tensor:
        mask = reach.any(dim=-1)
        mask[:, 0] |= ~mask.any(dim=1)  # somebody of whom no pathway is known still needs a token to attend to
        return mask

    def save_assets(self, folder: Path) -> None:
        super().save_assets(folder)
        lines = ["\t".join([name, "", *members]) for name, members in self.sets.items()]
        (folder / "pathways.gmt").write_text("\n".join(lines) + "\n")

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "PathwayGenomics":
        genes = (folder / "genes.txt").read_text().split()
        return cls(genes=genes, sets=read_gmt(folder / "pathways.gmt"), **settings)


def read_gmt(path: Path, setting: str = "modality.genomics.gmt") -> dict[str, list[str]]:
    """Members of each gene set, in the file's order.

    Args:
        path: of the file.
        setting: that names it, for the error.

    Raises:
        UserError: if there is no such file, or a line is none of GMT's.
    """
    if not path.is_file():
        raise UserError(f"{setting}: {path}: no such file; give gene sets in GMT form")
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        name, *rest = line.split("\t")
        members = [gene for gene in rest[1:] if gene]
        if not name or not members:
            raise UserError(f"{path}, line {number}: found {line[:40]!r}; write name, description, genes, tabs between")
        if name in sets:
            raise UserError(f"{path}, line {number}: gene set '{name}' a second time; name each set once")
        sets[name] = list(dict.fromkeys(members))
    return sets


def _known(sets: dict[str, list[str]], genes: list[str], fewest: int, path: str) -> dict[str, list[str]]:
    """The sets with at least `fewest` genes of the cohort, and those genes."""
    vocabulary = set(genes)
    kept = {name: [gene for gene in members if gene in vocabulary] for name, members in sets.items()}
    kept = {name: members for name, members in kept.items() if len(members) >= fewest}
    if not kept:
        raise UserError(
            f"modality.genomics.gmt: {path}: none of {len(sets)} sets has {fewest} of the cohort's {len(genes)} genes; "
            "use sets of approved symbols, or lower modality.genomics.fewest"
        )
    return kept
