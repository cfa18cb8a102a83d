"""What a release of `method=sums` keeps of each hospital: sums over its patients, which add up to those of all.

The first step of Newton's method from no effect asks of a patient's likelihood its gradient and curvature alone, at a
point that no patient moves. So the sums of hospitals that came one after another are those of all at once, in any
order, to rounding; and a hospital that leaves takes its own off. The first release fixes what they are sums of: the
axes of each block of features, and the hazard that survival starts from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from finetune.experts.blocks import Axes
from finetune.experts.responses import Floats, Response
from foundation.arrays import read_arrays, write_arrays
from foundation.errors import UserError
from foundation.files import read_json, write_json

FILE = "sums.safetensors"
_NAMES = "sums.json"
_ADVICE = "train the release again with method=sums"
HALVES = 2  # of a hospital's patients, summed apart: one hospital alone has nobody else to choose a penalty by


@dataclass(frozen=True)
class SumSettings:
    """The config's `sums`.

    Args:
        forget: hospitals whose sums go; those of their patients who are in the cohort are added anew.
        fewest: patients of a hospital, of new ones alone where it has sums, below which no sum of theirs is added.

    Raises:
        UserError: if a setting cannot be.
    """

    forget: tuple[str, ...] = ()
    fewest: int = 10

    @classmethod
    def read(cls, content: dict[str, Any]) -> Self:
        """The setting, read."""
        for name in content:
            if name not in cls.__dataclass_fields__:
                raise UserError(f"sums.{name}: no such setting; there are {', '.join(cls.__dataclass_fields__)}")
        forget, fewest = content.get("forget", ()), content.get("fewest", cls.fewest)
        if not isinstance(forget, list | tuple):  # a text is a sequence too, of letters
            raise UserError(f"sums.forget: found {forget!r}; give a list of hospitals, such as [north]")
        if not isinstance(fewest, int) or isinstance(fewest, bool) or fewest < 1:
            raise UserError(f"sums.fewest: found {fewest!r}; give a count of patients, at least 1")
        return cls(tuple(map(str, forget)), fewest)


def keeps_sums(folder: Path) -> bool:
    """Whether a folder is of a release that sums can be added to."""
    return (folder / _NAMES).is_file()


@dataclass(frozen=True, eq=False)
class Part:
    """Sums over half of a hospital's patients, for each output.

    Attributes:
        pairs: patients who have both of two blocks, `[blocks, blocks]`.
        gradient: of the log-likelihood by a weight of each column, `[outputs, columns]`; see `design`.
        information: its curvature, `[outputs, columns, columns]`.
    """

    pairs: Floats
    gradient: Floats
    information: Floats

    def __add__(self, other: "Part") -> "Part":
        return Part(self.pairs + other.pairs, self.gradient + other.gradient, self.information + other.information)


@dataclass(frozen=True, eq=False)
class Frame:
    """What every hospital's sums are of: axes by block, and by output where its response starts from."""

    axes: dict[str, Axes]
    starts: list[Floats]

    @classmethod
    def of(cls, blocks: Mapping[str, Floats], responses: Sequence[Response]) -> Self:
        """That of the first release's patients."""
        axes = {name: Axes.of(values[~np.isnan(values).all(axis=1)]) for name, values in blocks.items()}
        return cls(axes, [response.start() for response in responses])

    @property
    def columns(self) -> dict[str, slice]:
        """Where the design has a block's components and, last, whether a patient has it."""
        ends = np.cumsum([axes.rotation.shape[1] + 1 for axes in self.axes.values()]).tolist()
        return {name: slice(start, end) for name, start, end in zip(self.axes, [0, *ends], ends, strict=False)}

    def design(self, blocks: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Patients by column, zeros where they lack a block and a one at the end; and which blocks they have."""
        has = np.stack([~np.isnan(blocks[name]).all(axis=1) for name in self.axes], axis=1).astype(float)
        parts = []
        for who, (name, axes) in zip(has.T, self.axes.items(), strict=True):
            parts += [axes.project(blocks[name]) * who[:, None], who[:, None]]
        return np.concatenate([*parts, np.ones((len(has), 1))], axis=1), has

    def part(self, blocks: Mapping[str, Floats], responses: Sequence[Response]) -> Part:
        """Sums over patients."""
        design, has = self.design(blocks)
        gradients, informations = [], []
        for response, start in zip(responses, self.starts, strict=True):
            rows = np.flatnonzero(response.known)
            slope, bend = response.of(rows).tangent(start)
            gradients.append(design[rows].T @ slope)
            informations.append((design[rows] * bend[:, None]).T @ design[rows])
        return Part(has.T @ has, np.stack(gradients), np.stack(informations))


@dataclass(frozen=True, eq=False)
class HospitalSums:
    """All that is kept.

    Attributes:
        frame: of the first release.
        patients: by hospital.
        parts: by hospital, its halves.
    """

    frame: Frame
    patients: dict[str, int]
    parts: dict[str, list[Part]]

    def without(self, hospitals: Sequence[str]) -> "HospitalSums":
        """The same when some hospitals have left.

        Raises:
            UserError: if one is not there.
        """
        unknown = [name for name in hospitals if name not in self.parts]
        if unknown:
            raise UserError(f"sums.forget: no sums of '{unknown[0]}'; there are those of {', '.join(self.parts)}")
        return HospitalSums(
            self.frame,
            {name: count for name, count in self.patients.items() if name not in hospitals},
            {name: parts for name, parts in self.parts.items() if name not in hospitals},
        )

    def adding(
        self, blocks: Mapping[str, Floats], responses: Sequence[Response], hospitals: Sequence[str], fewest: int
    ) -> "HospitalSums":
        """With patients who are in none of the sums; those of a hospital are dealt to its halves in turn.

        Raises:
            UserError: if those of a hospital are so few that a sum tells of each.
        """
        names, patients, parts = np.asarray(hospitals), dict(self.patients), dict(self.parts)
        for name in dict.fromkeys(hospitals):
            rows = np.flatnonzero(names == name)
            before = patients.get(name, 0)
            if len(rows) < fewest:  # beside those before, too: two releases differ by the new ones' sums
                raise UserError(
                    f"sums.fewest: {len(rows)} patients of {name}, and a sum of fewer than {fewest} tells of "
                    "each; pool small hospitals under one name (hospitals.smallest of the declaration), or lower it"
                )
            turns = (np.arange(len(rows)) + before) % HALVES
            halves = []
            for half in range(HALVES):
                some = rows[turns == half]
                theirs = {block: values[some] for block, values in blocks.items()}
                halves.append(self.frame.part(theirs, [response.of(some) for response in responses]))
            if name in parts:
                halves = [one + more for one, more in zip(parts[name], halves, strict=True)]
            patients[name], parts[name] = before + len(rows), halves
        return HospitalSums(self.frame, patients, parts)

    def write(self, folder: Path) -> None:
        """Into a run's folder."""
        arrays: dict[str, Any] = {}
        for name, axes in self.frame.axes.items():
            arrays |= {f"axes.{name}.{key}": value for key, value in vars(axes).items()}
        arrays |= {f"start.{place}": start for place, start in enumerate(self.frame.starts)}
        for name, halves in self.parts.items():
            for half, part in enumerate(halves):
                arrays |= {f"part.{half}.{key}.{name}": value for key, value in vars(part).items()}
        write_arrays(folder / FILE, arrays)
        content = {"blocks": list(self.frame.axes), "outputs": len(self.frame.starts), "patients": self.patients}
        write_json(folder / _NAMES, content, sort_keys=False)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Those of a release.

        Raises:
            UserError: if it kept none, or they are damaged.
        """
        names = read_json(folder / _NAMES, _ADVICE, "blocks", "outputs", "patients")
        blocks, outputs, patients = names["blocks"], names["outputs"], names["patients"]
        fits = isinstance(blocks, list) and all(isinstance(name, str) for name in blocks) and isinstance(patients, dict)
        if not fits or any(type(count) is not int or count < 1 for count in [outputs, *patients.values()]):
            raise UserError(f"{folder / _NAMES}: names no blocks, outputs and patients by hospital; {_ADVICE}")
        arrays = read_arrays(folder / FILE, _ADVICE)
        try:
            axes = {name: Axes(*(arrays[f"axes.{name}.{key.name}"] for key in fields(Axes))) for name in blocks}
            starts = [arrays[f"start.{place}"] for place in range(outputs)]
            parts = {
                name: [
                    Part(*(arrays[f"part.{half}.{key}.{name}"] for key in ("pairs", "gradient", "information")))
                    for half in range(HALVES)
                ]
                for name in patients
            }
        except KeyError as error:
            raise UserError(f"{folder / FILE}: holds no {error.args[0]}; {_ADVICE}") from error
        frame = Frame(axes, starts)
        if not _fit(frame, [part for halves in parts.values() for part in halves]):
            raise UserError(f"{folder / FILE}: sums of other shapes than {_NAMES} names, or no numbers; {_ADVICE}")
        return cls(frame, patients, parts)


def _fit(frame: Frame, parts: Sequence[Part]) -> bool:
    """Whether arrays that were read are of the shapes that belong together, and numbers."""
    blocks, outputs, columns = len(frame.axes), len(frame.starts), 1
    for axes in frame.axes.values():
        if axes.rotation.ndim != 2 or not axes.mean.shape == axes.scale.shape == axes.rotation.shape[:1]:
            return False
        if axes.reach.shape or not axes.reach > 0:
            return False
        if np.isnan(axes.scale).any() or not (np.isfinite(axes.mean).all() and np.isfinite(axes.rotation).all()):
            return False  # a scale is infinite where a feature never varies
        columns += axes.rotation.shape[1] + 1
    shapes = [(blocks, blocks), (outputs, columns), (outputs, columns, columns)]
    return all(np.isfinite(start).all() for start in frame.starts) and all(
        value.shape == shape and np.isfinite(value).all()
        for part in parts
        for value, shape in zip((part.pairs, part.gradient, part.information), shapes, strict=True)
    )
