"""The server's side of a secure round: order, sums, and mean differences by parameter group."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp import Grid

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.secure.settings import (
    HEAD,
    MODULUS,
    RECORD,
    Secure,
    SecureOrder,
    levels,
)
from foundation.federation.secure.summing_grid import SummingGrid
from foundation.federation.secure.workflow import Workflow, mean_of
from foundation.federation.weights.types import Weights
from foundation.federation.weights.update import SiteUpdate

_WHOLE = 0.25  # counts that are further from a whole number cannot come from quantisation


@dataclass
class SecureRound:
    """What the server learns in a round: sums over the sites, and who took part.

    Attributes:
        differences: by name, the sites' mean difference weighted by samples, float64; of the trained groups alone.
        samples: by trained group, the samples of all sites.
        contributors: by group, how many sites trained it; nobody learns which.
        withheld: by group that too few sites trained, how many did; it keeps its value.
        reduced: by trained group, the mean share of a site's norm that clipping took away.
        clipped: by trained group, the mean share of values of statistics and counters that were clipped.
        took_part: sites in the sums.
        absent: why, by site that was asked and is not in the sums.
        replies: by site, the open part of its reply: metrics, or the reason why it declined.
        bytes: by site, {"to_site": ..., "from_site": ...} over all stages.
    """

    differences: dict[str, np.ndarray] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    contributors: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)
    reduced: dict[str, float] = field(default_factory=dict)
    clipped: dict[str, float] = field(default_factory=dict)
    took_part: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    replies: dict[str, RecordDict] = field(default_factory=dict)
    bytes: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def update(self) -> SiteUpdate:
        """The sum as a strategy takes it: the update of one site that holds everybody's patients."""
        return SiteUpdate(self.differences, self.samples)


def secure_round(
    grid: Grid,
    nodes: Mapping[str, int],
    order: RecordDict,
    before: Weights,
    settings: Secure,
    most: int,
    number: int,
    seconds: float | None,
    groups: Collection[str] | None = None,
    extra: Mapping[str, Mapping[str, ArrayRecord]] | None = None,
) -> SecureRound:
    """One round of masked updates.

    Sites exchange keys, train, submit masked vectors, and give the shares that open the sum. A site that leaves before
    it has submitted is left out, as long as `settings.threshold` of them stay; one that leaves later is still in the
    sum. What is aggregated equals the plain mean by group within `SecureOrder.bound`, if nothing was clipped.

    What it does not hide: a group that one site alone trained is that site's update, whatever masks do; leave it out of
    `groups` where it is known before. Whoever runs the server is trusted to hand on the sites' keys as they are: one
    that puts its own in their place reads what they share.

    Args:
        grid: Flower's way to the nodes.
        nodes: by site.
        order: the round's ordinary order; it travels in the training stage.
        before: its weights, by name.
        settings: see there.
        most: see `SecureOrder`.
        number: of the round.
        seconds: deadline of training; None waits for everybody.
        groups: parameter groups to sum; all of `before` if None.
        extra: by site, records of its order that no other gets.

    Raises:
        UserError: if too few sites are there or stay, or their counts do not add up to whole numbers.
    """
    if len(nodes) < settings.minimum_sites:
        raise UserError(f"secure.minimum_sites: {settings.minimum_sites}, and {len(nodes)} sites are there to train")
    asked = SecureOrder.of(settings, most, {group_of(name) for name in before} if groups is None else groups)
    if most * 4 * len(nodes) >= levels(len(nodes)):
        raise UserError(f"secure aggregation: {most} samples a site are too many to count; make rounds shorter")
    names = asked.names(before)
    shapes: list[tuple[int, ...]] = [(1,), (len(HEAD) * len(asked.groups),), *((before[name].size,) for name in names)]
    summing = SummingGrid(grid, {node: site for site, node in nodes.items()}, shapes, MODULUS, seconds)
    content = RecordDict({**order, RECORD: asked.record()})
    threshold = settings.shares_needed(len(nodes))
    by_node = {nodes[site]: records for site, records in (extra or {}).items()}
    workflow = Workflow(content, threshold, levels(len(nodes)), settings.exchange_seconds, by_node)
    opened = mean_of(summing, nodes, workflow, number)
    if opened is None:
        reasons = "; ".join(f"{site}: {why}" for site, why in summing.absent.items())
        raise UserError(
            f"secure aggregation: {threshold} of {len(nodes)} sites must stay to the end, and {len(summing.absent)} "
            f"left ({reasons}); let them come back, or lower secure.threshold"
        )
    mean, present = opened
    took_part = [site for site, node in nodes.items() if node in present]
    result = _read(asked, settings, before, [vector * len(took_part) for vector in mean])
    result.took_part = took_part
    result.absent = {site: why for site, why in summing.absent.items() if site not in took_part}
    result.replies = summing.replies
    result.bytes = {site: {"to_site": summing.to_site[site], "from_site": summing.from_site[site]} for site in nodes}
    return result


def _read(asked: SecureOrder, settings: Secure, before: Weights, sums: list[np.ndarray]) -> SecureRound:
    """Sums of vectors as means by group."""
    names = asked.names(before)
    vectors = dict(zip(names, sums[1:], strict=True))
    result = SecureRound()
    for group, (share, trained, reduced, clipped) in zip(asked.groups, sums[0].reshape(-1, len(HEAD)), strict=True):
        total, count = _whole(share * asked.most), _whole(trained)
        result.contributors[group] = count
        if total < count:
            raise UserError(f"secure aggregation: {count} sites trained {group} with {total} samples; check releases")
        if count < settings.minimum_contributors:
            if count:
                result.withheld[group] = count
            continue
        result.samples[group] = total
        result.reduced[group], result.clipped[group] = float(reduced / count), float(clipped / count)
        for name in (name for name in names if group_of(name) == group):
            scale = asked.range_of(name, before[name]) * asked.most / total
            result.differences[name] = (vectors[name] * scale).reshape(before[name].shape)
    return result


def _whole(value: float) -> int:
    if abs(value - round(value)) > _WHOLE or value < -_WHOLE:
        raise UserError(f"secure aggregation: the sites' counts sum to {value:g}, not to a whole; check their releases")
    return round(value)
