"""A site's side: what it submits, and the mod that masks it.

Keys and shares are Flower's (`secaggplus_mod`), masks are drawn by `masks`; added here are checks of what the server
asks, and that a reply whose arrays are not masked never leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from flwr.app import Context, Message, RecordDict

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.secure.masks import replace_flowers_masks
from foundation.federation.secure.records import (
    RECORD_KEY_CONFIGS,
    UNMASKED,
    Key,
    Stage,
    result_records,
    secaggplus_mod,
)
from foundation.federation.secure.settings import RECORD, SecureOrder
from foundation.federation.weights.types import Arrays
from foundation.federation.weights.update import SiteUpdate

_FEWEST = 2  # a sum of one is that one's update; a run's plan and a site's policy ask for more

Handler = Callable[[Message, Context], Message]


@dataclass
class Submission:
    """What a site hands to masking.

    Attributes:
        arrays: flat float64 vectors of values within -1 to 1: first the head, by group the numbers of `HEAD`, then a
            vector a parameter.
        reduced: by trained group, the share of its difference's norm that clipping took away.
        clipped: by trained group, the share of the values of statistics and counters that were clipped.
    """

    arrays: list[np.ndarray]
    reduced: dict[str, float]
    clipped: dict[str, float]


def submission(order: SecureOrder, before: Arrays, update: SiteUpdate) -> Submission:
    """A round's result as shares and weighted differences.

    For each group g with s_g samples the site submits s_g / most and, by parameter, s_g / most * difference / range.
    Summed over the sites, the one divided by the other is the mean weighted by samples, and nobody sees a summand. A
    group that the site did not train is submitted as zeros, whatever its difference holds.

    Args:
        order: of the round.
        before: weights that the order brought.
        update: of the site; read only in the groups that it trained.

    Raises:
        UserError: if a difference is not finite, or a count lies above `most`: the server could not tell either.
    """
    names = order.names(before)
    head: list[float] = []
    arrays: dict[str, np.ndarray] = {}
    reduced: dict[str, float] = {}
    clipped: dict[str, float] = {}
    for group in order.groups:
        members = [name for name in names if group_of(name) == group]
        share = _share(order, group, update.samples.get(group, 0))
        if share == 0:
            head += [0.0] * 4
            arrays |= {name: np.zeros(before[name].size) for name in members}
            continue
        scaled, reduced[group], clipped[group] = _scaled(order, group, before, update, members)
        head += [share, 1.0, reduced[group], clipped[group]]
        for name, value in scaled.items():
            value *= share  # in place: a model's worth of memory less
            arrays[name] = value
    return Submission([np.array(head), *(arrays[name] for name in names)], reduced, clipped)


def masked_reply(content: RecordDict, submitted: Submission) -> RecordDict:
    """A reply for the mod to mask.

    Args:
        content: what else is said, in the open: metrics, the hospital's name. No counts by group, and no arrays.
        submitted: see `submission`.
    """
    return RecordDict({**content, **result_records(submitted.arrays)})


def asked(content: RecordDict) -> bool:
    """Whether an order asks for a masked update."""
    return RECORD in content.config_records and RECORD_KEY_CONFIGS in content.config_records


def crowd(content: RecordDict) -> int:
    """How many sites' masks an order for a masked update counts on at most, this one included."""
    sources = content.config_records[RECORD_KEY_CONFIGS].get(Key.SOURCE_LIST, [])
    return len(set(sources) if isinstance(sources, list) else ()) + 1


def secure_mod(message: Message, context: Context, call_next: Handler) -> Message:
    """Flower's SecAgg+ for orders that ask for it; every other message passes through.

    A reply of the handler without a submission, such as a refusal, goes back as it is, and the site counts as absent.

    Raises:
        UserError: if the server asks for what would open an update, or the reply holds arrays that would stay unmasked.
    """
    if RECORD_KEY_CONFIGS not in message.content.config_records:
        return call_next(message, context)
    try:
        _check(message.content)
    except (KeyError, TypeError) as error:
        raise UserError("secure aggregation: the order's own words about masks cannot be read; refused") from error
    replace_flowers_masks()
    try:
        return secaggplus_mod(message, context, lambda asked, state: _submitted(call_next(asked, state)))
    except _NothingSubmittedError as nothing:
        return nothing.reply


class _NothingSubmittedError(Exception):
    """Leaves Flower's mod, which knows no refusals."""

    def __init__(self, reply: Message) -> None:
        super().__init__()
        self.reply = reply


def _submitted(reply: Message) -> Message:
    records = reply.content.array_records
    open_arrays = [name for name, arrays in records.items() if arrays and name != UNMASKED]
    if open_arrays:
        raise UserError(f"secure aggregation: the reply holds unmasked arrays ({', '.join(open_arrays)}); not sent")
    if UNMASKED not in reply.content.array_records:
        raise _NothingSubmittedError(reply)
    return reply


def _check(content: RecordDict) -> None:
    """Refuses what an honest server never asks: either would let it open single updates."""
    configs = content.config_records[RECORD_KEY_CONFIGS]
    if configs[Key.STAGE] == Stage.SETUP:
        sites, threshold = cast(int, configs[Key.SAMPLE_NUMBER]), cast(int, configs[Key.THRESHOLD])
        if sites < _FEWEST:
            raise UserError(f"secure aggregation: {sites} sites were to be summed; refused below {_FEWEST}")
        if 2 * threshold <= sites:
            raise UserError(f"secure aggregation: {threshold} of {sites} shares open a mask; refused below a majority")
    if configs[Key.STAGE] == Stage.UNMASK:
        active = cast(list[int], configs[Key.ACTIVE_NODE_ID_LIST])
        dead = cast(list[int], configs[Key.DEAD_NODE_ID_LIST])
        if set(active) & set(dead):
            raise UserError("secure aggregation: the server asked for both shares of one site; refused")


def _share(order: SecureOrder, group: str, count: int) -> float:
    if not 0 <= count <= order.most:
        raise UserError(
            f"secure aggregation: {count} samples in {group}, of {order.most} at most; raise secure.processes"
        )
    return count / order.most


def _scaled(
    order: SecureOrder, group: str, before: Arrays, update: SiteUpdate, names: list[str]
) -> tuple[dict[str, np.ndarray], float, float]:
    """Differences of a group within -1 to 1, the share of the norm taken away, the share of statistics clipped."""
    scaled, beyond, counted, square = {}, 0, 0, 0.0
    for name in names:
        value = update.flat(name, before[name]).astype(np.float64)
        if not np.isfinite(value).all():
            raise UserError(f"secure aggregation: {name}: the site's update is not finite; lower the learning rate")
        if order.is_statistic(name, before[name]):
            value /= order.range_of(name, before[name])
            beyond += int((np.abs(value) > 1).sum())
            counted += value.size
            scaled[name] = np.clip(value, -1, 1)
        else:
            square += float(value @ value)
            scaled[name] = value
    norm = order.norm_of(group)
    length = max(float(np.sqrt(square)), norm)
    for name in names:
        if not order.is_statistic(name, before[name]):
            scaled[name] /= length
    return scaled, 1 - norm / length, beyond / max(counted, 1)
