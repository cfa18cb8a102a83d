"""How unlike others patients are, across hospitals: moments of features, and counts of scores by left-out axes.

The server adds the hospitals' moments and hands the total back. Each hospital takes its own off, so that axes come of
the others' patients alone, and keeps its validation patients' parts by them; of these it counts how many are at most
some edges. No hospital's own moments are needed beside the total, so this is the same under secure sums.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.reliability.module import Reliability
from finetune.reliability.moments import Moments
from finetune.reliability.novelty import FEWEST, PARTS, Floats, Novelty
from finetune.reliability.quantiles import counts_at_most
from foundation.errors import UserError
from foundation.federation.sums import SiteSums
from foundation.federation.weights.types import Weights

MOMENTS, NOVELTY = "moments", "novelty"
FOLDER = "novelty"  # in a site's own folder
AT_ONCE = 255  # edges of a cell
_AGAIN = "install one release everywhere"
_LOST = "remove the folder and start the run's last round again, with resume=true"

Shapes = dict[str, tuple[int, ...]]


class NoveltyAnswers:
    """What a hospital says of how its patients spread.

    Args:
        module: which blocks of features there are; its own numbers are not read.
        features: of train and validation patients, `[patients, features]`, NaN where there are none; None where a
            question needs none.
        unseen: which of them validate, `[patients]`.
        folder: of the hospital's own, where parts by left-out axes are kept between two questions.
    """

    def __init__(self, module: Reliability, features: Floats | None, unseen: NDArray[np.bool_], folder: Path) -> None:
        self.module = module
        self.features = features
        self.unseen = unseen
        self.folder = folder

    def moments(self, question: Mapping[str, NDArray[Any]]) -> SiteSums:
        """Sums of features; then of distances from the mean; then of products, of one block."""
        assert self.features is not None
        count = len(self.features)
        known = ~np.isnan(self.features)
        if not question:
            patients = np.array([known[:, place].any(axis=1).sum() for place in self.module.places()], dtype=np.int64)
            arrays = {"patients": patients, "known": known.sum(axis=0), "total": np.nansum(self.features, axis=0)}
            return SiteSums(arrays, count, ("patients", "known"))
        if "block" not in question:
            centre = _numbers(question, "centre", self.features.shape[1])
            return SiteSums({"deviation": np.nansum(np.abs(self.features - centre), axis=0)}, count)
        ours = self._own(question, self._place(question))
        arrays = {"products": _upper(ours.products), "total": np.diagonal(ours.crossed).copy()}
        if question["complete"].any():
            return SiteSums(arrays, count)
        return SiteSums(arrays | {"known": _upper(ours.known), "crossed": ours.crossed}, count)

    def answer(self, question: Mapping[str, NDArray[Any]]) -> SiteSums:
        """Counts where edges are asked about, else axes without this hospital."""
        return self.counts(question) if "edges" in question else self.leave_out(question)

    def leave_out(self, question: Mapping[str, NDArray[Any]]) -> SiteSums:
        """Keeps parts of a block of the hospital's validation patients, by axes of the others; how many have them."""
        assert self.features is not None
        place, number = self._place(question), int(question["block"][0])
        total = unpacked(question, place.stop - place.start)
        centre, unit = question["centre"], question["unit"]
        values = self.features[:, place]
        rest = total.without(self._own(question, place))
        parts = np.full((int(self.unseen.sum()), PARTS), np.nan, dtype=np.float32)
        theirs = values[self.unseen]
        there = ~np.isnan(theirs).all(axis=1)
        if rest.patients >= FEWEST and there.any():
            axes = rest.axes(centre, unit, self.module.components)
            parts[there] = Novelty.parts_by(axes, theirs[there]).numpy()
        folder = self.folder / _name(question)
        for other in self.folder.glob("*"):
            if other != folder:  # of an earlier run
                shutil.rmtree(other)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", parts, allow_pickle=False)
        judged = (~np.isnan(parts).any(axis=1)).sum()
        return SiteSums({"judged": np.array([judged], dtype=np.int64)}, len(parts), ("judged",))

    def counts(self, question: Mapping[str, NDArray[Any]]) -> SiteSums:
        """How many parts, or modalities' scores, are at most some edges."""
        edges = question["edges"]
        blocks, modalities = len(self.module.blocks), len(self.module.modalities)
        of_scores = "middle" in question
        cells = modalities if of_scores else blocks * PARTS
        if edges.ndim != 2 or edges.shape[1] != cells or not 0 < len(edges) <= AT_ONCE or np.isnan(edges).any():
            raise UserError(f"{NOVELTY}: asked to count below other than one to {AT_ONCE} numbers; {_AGAIN}")
        parts = [self._parts(question, number) for number in range(blocks)]
        if of_scores:
            columns = self._scores(question, parts)
        else:
            columns = [part[:, side].astype(np.float64) for part in parts for side in range(PARTS)]
        counted = counts_at_most(columns, edges.astype(np.float32))
        return SiteSums({"patients": counted}, int(self.unseen.sum()), ("patients",))

    def _scores(self, question: Mapping[str, NDArray[Any]], parts: Sequence[NDArray[np.float32]]) -> list[Floats]:
        """The largest of a modality's blocks' scores, `[unseen]` each; NaN where it has none."""
        largest = {name: np.full(int(self.unseen.sum()), -np.inf) for name in self.module.modalities}
        for number, ((name, _, _), part) in enumerate(zip(self.module.blocks, parts, strict=True)):
            if not question["used"][number]:
                continue
            block = Novelty(1, 1)
            block.middle, block.below, block.above = (
                torch.from_numpy(question[key][number].astype(np.float32)) for key in ("middle", "below", "above")
            )
            score = block.distances(torch.from_numpy(part)).numpy()
            largest[name] = np.maximum(largest[name], np.nan_to_num(score, nan=-np.inf))
        return [np.where(np.isfinite(column), column, np.nan) for column in largest.values()]

    def _own(self, question: Mapping[str, NDArray[Any]], place: slice) -> Moments:
        assert self.features is not None
        size = place.stop - place.start
        return Moments.of(self.features[:, place], _numbers(question, "centre", size), _numbers(question, "unit", size))

    def _place(self, question: Mapping[str, NDArray[Any]]) -> slice:
        number, places = int(question["block"][0]), self.module.places()
        if not 0 <= number < len(places):
            raise UserError(f"{MOMENTS}: asked for a block of features beyond the {len(places)} there are; {_AGAIN}")
        return places[number]

    def _parts(self, question: Mapping[str, NDArray[Any]], number: int) -> NDArray[np.float32]:
        path = self.folder / _name(question) / f"{number}.npy"
        try:
            parts: NDArray[np.float32] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: cannot be read ({error}); {_LOST}") from error
        if parts.shape != (int(self.unseen.sum()), PARTS):
            raise UserError(f"{path}: of other patients than this hospital's are now; {_LOST}")
        return parts


def packed(total: Mapping[str, NDArray[Any]], patients: float, complete: bool) -> Weights:
    """A block's total of `NoveltyAnswers.moments`, as it goes back to hospitals."""
    return {**total, "patients": np.array([patients]), "complete": np.array([complete])}


def unpacked(arrays: Mapping[str, NDArray[Any]], size: int) -> Moments:
    """Moments of a total; where nobody lacks a single feature, known and crossed follow from the sums."""
    patients = float(arrays["patients"][0])
    if arrays["complete"].any():
        known, crossed = np.full((size, size), patients), np.repeat(arrays["total"][:, None], size, axis=1)
    else:
        known, crossed = _symmetric(arrays["known"], size), arrays["crossed"]
    return Moments(patients, _symmetric(arrays["products"], size), known, crossed)


def moment_shapes(size: int, complete: bool) -> Shapes:
    """Of the arrays of one block's moments."""
    pairs = (size * (size + 1) // 2,)
    shapes: Shapes = {"products": pairs, "total": (size,)}
    return shapes if complete else shapes | {"known": pairs, "crossed": (size, size)}


def name_of(totals: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[np.uint8]:
    """What the parts by some totals are kept under."""
    digest = hashlib.sha256()
    for total in totals:
        for key in sorted(total):
            digest.update(np.ascontiguousarray(total[key], dtype=np.float64).tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8).copy()


def _name(question: Mapping[str, NDArray[Any]]) -> str:
    return bytes(question["name"].astype(np.uint8)).hex()[:64]


def _numbers(question: Mapping[str, NDArray[Any]], key: str, size: int) -> Floats:
    values = question.get(key, np.zeros(0))
    if values.shape != (size,) or not np.isfinite(values).all():
        raise UserError(f"{MOMENTS}: {key} is not a finite number for each of {size} features; {_AGAIN}")
    return np.asarray(values, dtype=np.float64)


def _upper(square: Floats) -> Floats:
    return np.asarray(square[np.triu_indices(len(square))])


def _symmetric(upper: Floats, size: int) -> Floats:
    square = np.zeros((size, size))
    square[np.triu_indices(size)] = upper
    return square + np.triu(square, 1).T
