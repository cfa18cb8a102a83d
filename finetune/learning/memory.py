"""A memory of earlier patients: their embeddings by a frozen encoder, and their targets.

Rows are of single patients, so they stay in the run's folder, where `python -m foundation.data withdrawn` finds them by
id and removes them; no bundle and no message holds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Generator, Tensor

from foundation.errors import UserError
from foundation.files import read_json, replacing_folder, write_json
from foundation.tensors import read_tensors, write_tensors

FOLDER = "memory"
_ROWS = "rows.json"  # by this name a withdrawal finds it
_TENSORS = "embeddings.safetensors"
_ADVICE = "train the release again with keeps.memory=PATIENTS"


@dataclass(frozen=True)
class Memory:
    """Some patients, drawn at random from all that a release and those before it have learned from.

    Attributes:
        patients: ids.
        fused: embeddings, `[patients, width]`.
        targets: by label column, `[patients]`.
        behind: how many patients they were drawn from.
        encoder: digest of the weights that embedded them.
    """

    patients: list[str]
    fused: Tensor
    targets: dict[str, Tensor]
    behind: int
    encoder: str

    def drawn(self, count: int, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Embeddings and targets of some of them, each once at most."""
        rows = torch.randperm(len(self.patients), generator=generator)[:count]
        return self.fused[rows], {name: column[rows] for name, column in self.targets.items()}

    def of(self, rows: Tensor) -> "Memory":
        """Some rows, which stand for as many patients as all did."""
        targets = {name: column[rows] for name, column in self.targets.items()}
        return Memory(
            [self.patients[row] for row in rows.tolist()], self.fused[rows], targets, self.behind, self.encoder
        )

    def sample(self, most: int, generator: Generator) -> "Memory":
        """At most so many of them."""
        return self.of(torch.randperm(len(self.patients), generator=generator)[:most])

    def joined(self, newer: "Memory", most: int, generator: Generator) -> "Memory":
        """At most `most` of both, so that whoever was learned from had the same chance to be among them."""
        behind = self.behind + newer.behind
        each = min(most / behind, *(len(part.patients) / part.behind for part in (self, newer)))
        parts = [part.sample(round(each * part.behind), generator) for part in (self, newer)]
        targets = {name: torch.cat([part.targets[name] for part in parts]) for name in self.targets}
        patients = [patient for part in parts for patient in part.patients]
        return Memory(patients, torch.cat([part.fused for part in parts]), targets, behind, newer.encoder)

    def write(self, output: Path) -> None:
        """Into a run's folder, whole or not at all."""
        tensors: Mapping[str, Tensor] = {f"target.{name}": column for name, column in self.targets.items()}
        with replacing_folder(output / FOLDER) as temporary:
            write_tensors(temporary / _TENSORS, {"fused": self.fused, **tensors})
            content = {"rows": [[patient] for patient in self.patients]}
            write_json(temporary / _ROWS, {**content, "behind": self.behind, "encoder": self.encoder})

    @classmethod
    def read(cls, release: Path) -> Self:
        """That of a release.

        Raises:
            UserError: if it kept none, or it was removed because somebody withdrew.
        """
        folder = release / FOLDER
        if not (folder / _ROWS).is_file():
            raise UserError(
                f"learning: {release} keeps no memory of its patients; {_ADVICE}, or choose another learning="
            )
        content = read_json(folder / _ROWS, _ADVICE, "rows", "behind", "encoder")
        tensors = read_tensors(folder / _TENSORS, _ADVICE)
        targets = {name.removeprefix("target."): value for name, value in tensors.items() if name != "fused"}
        patients = [str(row[0]) for row in content["rows"]]
        return cls(patients, tensors["fused"], targets, int(content["behind"]), str(content["encoder"]))
