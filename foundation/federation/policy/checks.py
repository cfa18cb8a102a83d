"""Checks of a site's policy: of an order before training, and of an answer before it leaves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from foundation.errors import UserError
from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.spent import EMBEDDINGS, UPDATES, Spent, releases, total_after
from foundation.federation.plan import UnfitPlanError
from foundation.federation.policy.contract import Declined, Limits, NoiseRule, SitePolicy
from foundation.federation.policy.order import Noise, OrderFacts, PrivacyFacts
from foundation.federation.policy.suppression import suppress, withhold
from foundation.release import installed_release

_NO_TRAINING = ("evaluate", "statistics")  # whatever else an order may be called is held to the rules of training
_ROUNDING = 1e-9  # of sums: three runs of 1e-5 are within 3e-5


@dataclass(frozen=True)
class ReplyFacts:
    """What is about to leave.

    Attributes:
        kind: of the answer.
        patients: behind it.
        groups: parameter groups that travel.
        metrics: by name, as they would be sent.
        behind: patients by metric, by modality or by parameter group; see `suppress` and `withhold`.
        statistics: names of those that it tells.
        privacy: protection that was in fact put on.
        spent: by the run, up to and with this answer; None if nothing counts it.
        samples: by parameter group, before noise hides them.
        epochs: how often any one patient can have been in a step of training.
    """

    kind: Literal["introduction", "update", "evaluation", "statistics", "embeddings"]
    patients: int
    groups: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    behind: Mapping[str, int] = field(default_factory=dict)
    statistics: Sequence[str] = ()
    privacy: PrivacyFacts = field(default_factory=PrivacyFacts)
    spent: Spent | None = None
    samples: Mapping[str, int] = field(default_factory=dict)
    epochs: int = 1


def check_order(
    policy: SitePolicy,
    order: OrderFacts,
    entries: Sequence[Entry] = (),
    patients: int | None = None,
    spent_after: Spent | None = None,
    installed: str | None = None,
) -> None:
    """Lets an order pass, before anything is built from its plan.

    Args:
        policy: the site's.
        order: what is asked.
        entries: of the site's ledger.
        patients: to train on; None if that is not known yet, or nobody is trained on.
        spent_after: what the run will have spent after this round; None if nothing counts it.
        installed: release at this site; the installed one if None.

    Raises:
        Declined: with the reason.
    """
    release = installed_release() if installed is None else installed
    if order.release != release:
        raise Declined(f"release: this site runs {release}, and the plan is of another; install one release everywhere")
    _check_names(policy, order)
    _check_limits(policy.limits, order, entries)
    if order.embeddings:
        _check_embeddings(policy, order.privacy)
    if order.exact:
        _check_exact(policy)
    if order.task in _NO_TRAINING:
        return
    _check_privacy(policy, order.privacy)
    if order.batch is not None and order.batch < policy.patients.batch:
        raise Declined(f"patients.batch: {order.batch} a step asked, at least {policy.patients.batch} required")
    protected = order.privacy.secure_aggregation or order.privacy.site_dp is not None
    if patients is not None and not protected and patients < policy.patients.unprotected:
        raise Declined("patients.unprotected: too few to train on without masks and without this site's own noise")
    if patients is not None and patients < policy.patients.training:
        raise Declined(f"patients.training: this site has fewer than {policy.patients.training} to train on")
    _check_budget(policy, order, entries, spent_after)


def check_reply(policy: SitePolicy, order: OrderFacts, reply: ReplyFacts, entries: Sequence[Entry] = ()) -> None:
    """Lets an answer leave; call it before the ledger's entry.

    Args:
        policy: the site's.
        order: that is answered.
        reply: what is about to leave, after `suppress` and `withhold`.
        entries: of the site's ledger.

    Raises:
        Declined: with the reason, which is then all that leaves.
    """
    if suppress(policy, reply.metrics, reply.patients, reply.behind) != dict(reply.metrics):
        raise Declined(f"patients.metrics: a metric is of fewer than {policy.patients.metrics} patients")
    if withhold(policy, reply.samples, reply.behind, reply.epochs) != dict(reply.samples):
        raise Declined("patients: a parameter group was trained by too few of this site's patients to leave")
    if reply.kind == "embeddings":
        _check_embeddings(policy, reply.privacy)
    _allowed("statistics", reply.statistics, policy.statistics)
    if reply.kind in ("update", "embeddings"):
        if reply.patients < policy.patients.training:
            raise Declined(f"patients.training: fewer than {policy.patients.training} patients stand behind the answer")
        _allowed(
            "modalities",
            [name for name in reply.groups if name not in ("fusion", "head") and ":" not in name],
            policy.modalities,
        )
        _check_limits(policy.limits, order, entries)
    if reply.kind == "update":
        _check_privacy(policy, reply.privacy)
    if reply.kind in ("update", "embeddings"):
        _check_budget(policy, order, entries, reply.spent)
    if reply.kind in ("evaluation", "statistics"):
        _check_exact(policy)


def public_reason(policy: SitePolicy, error: UserError) -> str:
    """The line that a server may read about an error at this site; the site's own log has the error itself."""
    if isinstance(error, Declined | UnfitPlanError) or policy.error_details:
        return str(error)
    return "this site could not do its part; its own log says why"


def _check_names(policy: SitePolicy, order: OrderFacts) -> None:
    _allowed("tasks", [order.task] if order.task else [], policy.tasks)
    _allowed("releases", [order.release], policy.releases)
    _allowed("commits", [order.commit], policy.commits)
    _allowed("config_digest", [order.config_digest], policy.config_digest)
    _allowed("objectives", order.objectives, policy.objectives)
    _allowed("modalities", order.modalities, policy.modalities)
    _allowed("statistics", order.statistics, policy.statistics)
    if order.strategy:
        strategies = None if policy.strategies is None else [_plain(name) for name in policy.strategies]
        _allowed("strategies", [_plain(order.strategy)], strategies)


def _allowed(field: str, asked: Iterable[str], allowed: Iterable[str] | None) -> None:
    if allowed is None:
        return
    patterns = list(allowed)
    for name in asked:
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise Declined(f"{field}: '{name}' is not allowed here; allowed: {', '.join(patterns) or 'none'}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _check_limits(limits: Limits, order: OrderFacts, entries: Sequence[Entry]) -> None:
    for name, asked, most in (
        ("rounds", max(order.rounds, order.round), limits.rounds),
        ("steps", order.steps, limits.steps),
        ("seconds", order.seconds, limits.seconds),
    ):
        if most is not None and asked is not None and asked > most:
            raise Declined(f"limits.{name}: {asked:g} asked, at most {most:g} allowed")
    for asked_for, kinds, called in (
        (order.task not in _NO_TRAINING, UPDATES, "updates"),
        (order.embeddings, EMBEDDINGS, "releases of embeddings"),
    ):
        if limits.rounds is not None and asked_for and releases(entries, order.run, kinds) >= limits.rounds:
            raise Declined(f"limits.rounds: {limits.rounds} {called} have left for this run already")


def _check_privacy(policy: SitePolicy, promised: PrivacyFacts) -> None:
    required = policy.privacy
    if required.secure_aggregation and not promised.secure_aggregation:
        raise Declined("privacy.secure_aggregation: required here, and the run does without")
    _check_noise("site_dp", required.site_dp, promised.site_dp)
    _check_noise("example_dp", required.example_dp, promised.example_dp)


def _check_embeddings(policy: SitePolicy, promised: PrivacyFacts) -> None:
    if not policy.shared_embeddings:
        raise Declined("shared_embeddings: embeddings of patients do not leave this site")
    _check_noise("embeddings", policy.privacy.embeddings, promised.embeddings)


def _check_noise(name: str, rule: NoiseRule | None, promised: Noise | None) -> None:
    if rule is None:
        return
    if promised is None:
        raise Declined(f"privacy.{name}: required here, and the run does without")
    if not promised.noise_multiplier >= rule.min_noise_multiplier:
        least = f"at least {rule.min_noise_multiplier:g} required"
        raise Declined(f"privacy.{name}.min_noise_multiplier: {promised.noise_multiplier:g} offered, {least}")
    if rule.max_clip is not None and not promised.clip <= rule.max_clip:
        raise Declined(f"privacy.{name}.max_clip: {promised.clip:g} offered, at most {rule.max_clip:g} allowed")


def _check_exact(policy: SitePolicy) -> None:
    if policy.budget is not None and not policy.budget.exact:
        raise Declined("budget.exact: evaluations and statistics carry no noise, and here none may leave uncounted")


def _check_budget(policy: SitePolicy, order: OrderFacts, entries: Sequence[Entry], after: Spent | None) -> None:
    if policy.budget is None:
        return
    if order.privacy.server_noise and not policy.privacy.server_noise:
        raise Declined("privacy.server_noise: the noise is the server's to add, and this site takes no server's word")
    if after is None or not math.isfinite(after.epsilon):
        raise Declined("budget: this site counts differential privacy, and the run cannot say what it spends")
    total = total_after(entries, order.run, after)
    for name, spent, most in (
        ("epsilon", total.epsilon, policy.budget.epsilon),
        ("delta", total.delta, policy.budget.delta),
    ):
        if not spent <= most * (1 + _ROUNDING):
            raise Declined(f"budget.{name}: {spent:.4g} would be spent over all runs, {most:g} is the budget")
