"""What leaves a site after a round: the difference, protected and encoded, in the open or masked."""

from flwr.app import RecordDict

from foundation.command import instantiate
from foundation.federation.groups import group_of
from foundation.federation.secure import SecureOrder, masked_reply, submission
from foundation.federation.site.error_feedback import ErrorFeedback
from foundation.federation.site.gate import PolicyGate
from foundation.federation.site.training import state_of
from foundation.federation.task import RoundResult
from foundation.federation.weights.update import SiteUpdate, difference
from foundation.federation.wire.compression import Compressor
from foundation.federation.wire.messages import Reply, pack_reply


def open_update(gate: PolicyGate, result: RoundResult) -> Reply:
    """The update of a round for a server that sees each site's."""
    order, site = gate.order, gate.site
    behind = gate.task.behind("train")
    changed = _protected(gate, result, behind)
    compression: Compressor = instantiate(order.cfg.compression)
    residuals = ErrorFeedback(state_of(site, order), order.run)
    encoded = compression.encode(changed.difference, residuals.before(order.round), f"{site.name}/{order.round}")
    control = {name: value for name, value in result.control.items() if changed.samples.get(group_of(name))}
    reply = Reply(site.name, encoded.arrays, control, changed.samples, changed.metrics)
    reply = gate.release(reply, len(gate.task.patients("train")), behind)
    residuals.save(order.round, encoded.residual)
    return reply


def masked_update(gate: PolicyGate, result: RoundResult, asked: RecordDict) -> RecordDict:
    """The update of a round for secure aggregation: nothing of it, counts included, is in the open."""
    order = gate.order
    behind = gate.task.behind("train")
    changed = _protected(gate, result, behind)
    before = dict(order.weights)
    after = before | {name: before[name] + value for name, value in changed.difference.items()}
    submitted = submission(SecureOrder.read(asked), before, after, changed.samples)
    reply = Reply(gate.site.name, samples=changed.samples, metrics=changed.metrics)
    reply = gate.release(reply, len(gate.task.patients("train")), behind, masked=True)
    return masked_reply(pack_reply(Reply(reply.hospital, metrics=reply.metrics, facts=reply.facts)), submitted)


def _protected(gate: PolicyGate, result: RoundResult, behind: dict[str, int]) -> SiteUpdate:
    """The round's result as run and policy let it leave: groups that too few patients taught stay at home."""
    order = gate.order
    samples = gate.told(result.samples, behind)
    trained = {name: value for name, value in result.weights.items() if samples.get(group_of(name))}
    update = SiteUpdate(difference(order.weights, trained), samples, metrics=result.metrics)
    return gate.privacy.protect(update, order.weights, order.settings, order.buffers)
