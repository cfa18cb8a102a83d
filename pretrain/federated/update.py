"""What leaves a site after a round: the difference, protected and encoded, in the open or masked."""

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from foundation.command import instantiate
from pretrain.federated.aggregation import group_of
from pretrain.federated.codec import Codec
from pretrain.federated.desk import Desk
from pretrain.federated.messages import Order, Reply, pack_reply
from pretrain.federated.privacy import Protected
from pretrain.federated.residual import Residuals
from pretrain.federated.secure import SecureOrder, masked_reply, submission
from pretrain.federated.site_update import state_of
from pretrain.fit import RoundResult


def open_update(desk: Desk, result: RoundResult) -> Reply:
    """The update of a round for a server that sees each site's."""
    order, site = desk.order, desk.site
    behind = desk.behind("train")
    changed = _protected(desk, result, behind)
    codec: Codec = instantiate(order.cfg.codec)
    residuals = Residuals(state_of(site, order), order.run)
    encoded = codec.encode(changed.difference, residuals.before(order.round), f"{site.name}/{order.round}")
    control = {name: value for name, value in result.control.items() if changed.samples.get(group_of(name))}
    reply = Reply(site.name, encoded.arrays, control, changed.samples, changed.metrics)
    reply = desk.release(reply, len(desk.patients("train")), behind)
    residuals.save(order.round, encoded.residual)
    return reply


def masked_update(desk: Desk, result: RoundResult, asked: RecordDict) -> RecordDict:
    """The update of a round for secure aggregation: nothing of it, counts included, is in the open."""
    order = desk.order
    behind = desk.behind("train")
    changed = _protected(desk, result, behind)
    before = dict(order.weights)
    after = before | {name: before[name] + value for name, value in changed.difference.items()}
    submitted = submission(SecureOrder.read(asked), before, after, changed.samples)
    reply = Reply(desk.site.name, samples=changed.samples, metrics=changed.metrics)
    reply = desk.release(reply, len(desk.patients("train")), behind, masked=True)
    return masked_reply(pack_reply(Reply(reply.hospital, metrics=reply.metrics, facts=reply.facts)), submitted)


def _protected(desk: Desk, result: RoundResult, behind: dict[str, int]) -> Protected:
    """The round's result as run and policy let it leave: groups that too few patients taught stay at home."""
    order = desk.order
    samples = desk.told(result.samples, behind)
    changed = difference(order, result, {group for group, count in samples.items() if count})
    return desk.privacy.protect(changed, order.weights, samples, result.metrics, order.settings, order.buffers)


def difference(order: Order, result: RoundResult, groups: set[str]) -> dict[str, NDArray[np.generic]]:
    """What a round changed in some groups, by parameter; what it did not change does not travel."""
    found = {}
    for name, value in result.weights.items():
        if group_of(name) in groups:
            change = np.asarray(value - order.weights[name], dtype=value.dtype)
            if change.any():
                found[name] = change
    return found
