"""How far answers can be relied on, fitted by sums over hospitals after the last round of training.

What comes out is what `finetune.reliability.fit` gives of everybody's patients at one place: thresholds of sets and
intervals by subset of modalities, from counts of nonconformities at most some edges; axes, spread and limits of novelty
by each hospital's patients under axes that have not seen the hospital (`finetune.federated.novelty`). Only where there
are fewer than three hospitals does one place leave out random fifths, and hospitals still leave out a hospital.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetune.federated.calibration import theta_by_sums
from finetune.federated.counts import count_shapes, counts_of
from finetune.federated.novelty import AT_ONCE, MOMENTS, NOVELTY, moment_shapes, name_of, packed, unpacked
from finetune.federated.reliability_settings import ReliabilityPart, SupportPart
from finetune.federated.steady import Steady
from finetune.heads.base import Head
from finetune.heads.discrete import DiscreteHazards
from finetune.heads.multilabel import MultiLabel
from finetune.reliability.fit import limit_ranks, limits_of, looked_at, subsets_of, thresholds_of
from finetune.reliability.module import Blocks, Reliability
from finetune.reliability.moments import units
from finetune.reliability.novelty import FEWEST, PARTS, SIDES, Axes
from finetune.reliability.quantiles import conformal_rank, order_statistics
from finetune.subset_calibration import Settings, SubsetCalibration, can_calibrate, lacking
from foundation.federation.weights.types import Arrays, Weights
from foundation.files import read_json, write_json
from foundation.tensors import load_weights, write_tensors

SUBSETS, SUBSET_TEMPERATURE, REGIONS = "subsets", "subset_temperature", "regions"
NAMES = (SUBSETS, SUBSET_TEMPERATURE, REGIONS, MOMENTS, NOVELTY)
_FILE = "fitted.json"
_PARTS = {"reliability": Reliability, "subsets": SubsetCalibration}


@dataclass(frozen=True)
class Fitted:
    """What is saved beside a head.

    Attributes:
        reliability: thresholds, axes and limits; None where none were asked for.
        subsets: calibration by subset of modalities; None where the head's own is all.
    """

    reliability: Reliability | None
    subsets: SubsetCalibration | None


@torch.no_grad()
def fit_by_sums(
    ask: Steady,
    weights: Arrays,
    head: Head,
    outputs: int,
    modalities: list[str],
    blocks: Blocks,
    settings: ReliabilityPart | None,
    support: SupportPart | None,
) -> Fitted:
    """Fits all of it.

    Args:
        ask: sites with validation patients.
        weights: of the model, calibrated.
        head: with these weights' temperature and shift, for what it says of scores.
        outputs: raw scores a patient.
        modalities: that the task looks at.
        blocks: of plain features.
        settings: of regions and novelty; None for none.
        support: of calibration by subset; None for none.
    """
    subsets = None
    if support is not None and can_calibrate(head, modalities):
        subsets = _fit_subsets(ask, weights, head, outputs, modalities, Settings(**support.model_dump()))
    if settings is None:
        return Fitted(None, subsets)
    regions = head.regions()
    alternatives = 0 if regions is None else regions.alternatives
    module = Reliability(modalities, blocks, alternatives, settings.coverage)
    if regions is not None:
        codes = looked_at(len(modalities))
        shape = (len(codes), alternatives + len(regions.groups))
        question = calibration_question(subsets, modalities, outputs)

        def count(edges: NDArray[np.float32]) -> NDArray[np.int64]:
            more = {**question, "edges": edges}
            found = ask(REGIONS, weights, {"patients": edges.shape}, more)["patients"]
            return np.asarray(np.rint(found), dtype=np.int64)

        known = count(np.full((1, *shape), np.inf, dtype=np.float32))[0]
        found = order_statistics(count, conformal_rank(known, settings.coverage), AT_ONCE)
        module.thresholds[codes] = torch.from_numpy(thresholds_of(regions, found))
    if settings.flagged is not None:
        module.flagged = settings.flagged
        _fit_novelty(ask, weights, module)
    return Fitted(module.eval(), subsets)


def write(fitted: Fitted, folder: Path) -> None:
    """Keeps what was fitted, until a run's end puts it beside the head."""
    content = {}
    for name in _PARTS:
        part = getattr(fitted, name)
        if part is not None:
            write_tensors(folder / f"{name}.safetensors", part.state_dict())
            content[name] = part.settings()
    write_json(folder / _FILE, content)


def read(folder: Path) -> Fitted:
    """What `write` kept; nothing where it kept nothing."""
    if not (folder / _FILE).is_file():
        return Fitted(None, None)
    content = read_json(folder / _FILE, "train again")
    parts: dict[str, Any] = dict.fromkeys(_PARTS)
    for name, settings in content.items():
        parts[name] = _PARTS[name](**settings)
        load_weights(parts[name], folder / f"{name}.safetensors")
    return Fitted(**parts)


def calibration_question(subsets: SubsetCalibration | None, modalities: list[str], outputs: int) -> Weights:
    """The calibration by subset, as it goes to sites."""
    module = SubsetCalibration(modalities, outputs) if subsets is None else subsets
    return {"scale": module.scale.numpy(), "shift": module.shift.numpy()}


def _fit_subsets(
    ask: Steady, weights: Arrays, head: Head, outputs: int, modalities: list[str], settings: Settings
) -> SubsetCalibration:
    names = subsets_of(modalities)
    shapes = {name: (1 + len(names), *shape) for name, shape in count_shapes(head, []).items()}
    total = ask(SUBSETS, weights, shapes)
    everybody, *counts = (counts_of({name: rows[row] for name, rows in total.items()}) for row in range(1 + len(names)))
    module = SubsetCalibration(modalities, outputs)
    lacks = [lacking(count, everybody, settings) for count in counts]
    fitted = [place for place, lack in enumerate(lacks) if lack is None]
    if fitted:
        several = isinstance(head, MultiLabel | DiscreteHazards)
        width = dict(head.named_buffers())["shift"].numel()
        question = {"places": np.array(fitted, dtype=np.int64)}
        theta = theta_by_sums(
            lambda some, shapes: ask(SUBSET_TEMPERATURE, weights, shapes, {**question, "theta": some}),
            len(fitted) * (width if several else 1),
            2 if several else 1 + width,
        )
        found = iter(np.split(theta, len(fitted)))
    for subset, count, lack in zip(names, counts, lacks, strict=True):
        if lack is not None:
            module.keep_pooled(subset, lack)
            continue
        rows = next(found)
        log_scale, shift = (rows[:, 0], rows[:, 1]) if several else (rows[0, :1], rows[0, 1:])
        module.take(subset, count.patients, head, torch.from_numpy(log_scale).float(), torch.from_numpy(shift).float())
    return module.eval()


def _fit_novelty(ask: Steady, weights: Arrays, module: Reliability) -> None:
    """Axes of everybody, the spread of left-out patients, and limits."""
    size, blocks = sum(size for _, _, size in module.blocks), len(module.blocks)
    first = ask(MOMENTS, weights, {"patients": (blocks,), "known": (size,), "total": (size,)})
    centre = first["total"] / np.maximum(first["known"], 1)
    deviation = ask(MOMENTS, weights, {"deviation": (size,)}, {"centre": centre})["deviation"]
    unit = units(deviation, first["known"])
    used = first["patients"] >= FEWEST
    questions: list[Weights] = []
    totals: list[Weights] = []
    for number, place in enumerate(module.places()):
        complete = bool((first["known"][place] == first["patients"][number]).all())
        asked = {"centre": centre[place], "unit": unit[place], "block": np.array([number], dtype=np.int64)}
        questions.append(asked)
        asked = {**asked, "complete": np.array([complete])}
        total = ask(MOMENTS, weights, moment_shapes(place.stop - place.start, complete), asked)
        totals.append(packed(total, float(first["patients"][number]), complete))
    name = name_of(totals)
    judged = np.zeros(blocks, dtype=np.int64)
    for number, (asked, total) in enumerate(zip(questions, totals, strict=True)):
        told = ask(NOVELTY, weights, {"judged": (1,)}, {**asked, **total, "name": name})["judged"]
        judged[number] = round(float(told[0]))
        if used[number]:
            place = module.places()[number]
            moments = unpacked(total, place.stop - place.start)
            axes: Axes = moments.axes(centre[place], unit[place], module.components)
            module.novelty[number].take(axes)  # type: ignore[operator]
    _fit_spread(ask, module, name, judged, used)
    _fit_limits(ask, module, name, used)


def _fit_spread(
    ask: Steady, module: Reliability, name: NDArray[np.uint8], judged: NDArray[np.int64], used: NDArray[np.bool_]
) -> None:
    """Percentiles of left-out patients' parts, linear between two patients as `np.percentile` has them."""
    told = used & (judged >= FEWEST)
    places = np.array(SIDES)[:, None] / 100 * np.maximum(judged - 1, 0)  # [sides, blocks]
    low = np.floor(places)
    ranks = np.stack([low, np.minimum(low + 1, np.maximum(judged - 1, 0))]).astype(np.int64) + 1
    wanted = np.repeat(ranks[..., None], PARTS, axis=3)  # [2, sides, blocks, parts]

    def count(edges: NDArray[np.float32]) -> NDArray[np.int64]:
        # Of one rank after the other: a hospital has a column for each part of a block, whatever is asked of it.
        asked = edges.reshape(-1, len(module.blocks) * PARTS)
        found = [
            ask(NOVELTY, {}, {"patients": some.shape}, {"edges": some, "name": name})["patients"]
            for some in np.array_split(asked, -(-len(asked) // AT_ONCE))
        ]
        return np.asarray(np.rint(np.concatenate(found)), dtype=np.int64).reshape(edges.shape)

    values = order_statistics(count, wanted, AT_ONCE // (2 * len(SIDES))).astype(np.float64)
    values = np.where(np.isfinite(values), values, 0.0)  # of blocks that nobody has
    share = (places - low)[..., None]
    between = values[1] - values[0]
    found = np.where(share < 0.5, values[0] + between * share, values[1] - between * (1 - share))
    for number in map(int, np.flatnonzero(told)):
        module.novelty[number].spread(*found[:, number])  # type: ignore[operator]


def _fit_limits(ask: Steady, module: Reliability, name: NDArray[np.uint8], used: NDArray[np.bool_]) -> None:
    spread = {
        key: np.stack([getattr(block, key).numpy() for block in module.novelty]) for key in ("middle", "below", "above")
    }

    def count(edges: NDArray[np.float32]) -> NDArray[np.int64]:
        question = {**spread, "used": used, "edges": edges, "name": name}
        return np.asarray(np.rint(ask(NOVELTY, {}, {"patients": edges.shape}, question)["patients"]), dtype=np.int64)

    counts = count(np.full((1, len(module.modalities)), np.inf, dtype=np.float32))[0]
    found = order_statistics(count, limit_ranks(counts, module.flagged), AT_ONCE).astype(np.float64)
    limits = limits_of(np.where(counts > 0, found, 0.0), counts, module.flagged)
    module.limits.copy_(torch.from_numpy(limits))
