"""Bounds of a plan that recurs, as this hospital's own ledger and lists tell what of them is used; no server's word."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.spent import Spent, total_after
from foundation.federation.plan import RunPlan
from foundation.federation.policy import Declined
from foundation.federation.site.config import Site
from foundation.files import read_json
from foundation.lineage import site_list
from foundation.patient_list import WITHDRAWN, digests_of_ids

_MONTH, _YEAR = timedelta(days=30), timedelta(days=365)
_RELEASES = ("update", "embeddings")


def check_members(site: Site, plan: RunPlan) -> None:
    """Holds who takes part, and the plan's bounds, to what was approved and to the policy.

    Raises:
        Declined: with the reason.
    """
    standing, policy = plan.standing, site.policy
    if standing is None:
        return
    if standing.hospitals is not None and set(plan.sites) - set(standing.hospitals):
        raise Declined("standing: a hospital takes part that the approval does not name")
    for field, asked, most in (
        ("limits.rounds_a_month", standing.rounds_a_month, policy.limits.rounds_a_month),
        ("limits.epsilon_a_year", standing.epsilon_a_year, policy.limits.epsilon_a_year),
    ):
        if most is not None and (asked is None or asked > most):
            raise Declined(f"{field}: {'no bound' if asked is None else f'{asked:g}'} asked, at most {most:g} allowed")
    if standing.new_patients < policy.patients.new:
        raise Declined(f"patients.new: {standing.new_patients} asked, at least {policy.patients.new} required")


def check_bounds(
    site: Site,
    plan: RunPlan,
    run: str,
    number: int,
    entries: Sequence[Entry],
    patients: Sequence[str],
    after: Spent | None,
) -> None:
    """Lets a round of training pass that is within the bounds.

    Args:
        site: whose.
        plan: of the order.
        run: its name.
        number: of its round.
        entries: of the site's ledger.
        patients: to train on.
        after: what the run will have spent after this round; None if nothing counts it.

    Raises:
        Declined: if it is not.
    """
    standing = plan.standing
    if standing is None:
        return
    check_news(site, plan, run, entries, patients)
    of_plan = [one for one in entries if one.standing == plan.approved_as and one.direction == "out"]
    rounds = {(one.run, one.round) for one in _within(of_plan, _MONTH) if one.kind == "update"} - {(run, number)}
    if len(rounds) >= standing.rounds_a_month:
        raise Declined(f"standing: rounds_a_month: {standing.rounds_a_month} rounds have left in the last 30 days")
    check_epsilon(plan, run, entries, after)


def check_news(site: Site, plan: RunPlan, run: str, entries: Sequence[Entry], patients: Sequence[str]) -> None:
    """Lets a run begin, or go on, at a hospital that has enough new patients; its first run needs none.

    Raises:
        Declined: if there are fewer than the bound.
        UserError: if a list of an earlier run is gone, for then nobody can tell.
    """
    standing = plan.standing
    assert standing is not None, "asked of plans that recur alone"
    earlier = earlier_runs(plan, run, entries)
    seen: set[str] = set()
    for one in sorted(earlier):
        path = site_list(site.ledger.parent, one)
        content = read_json(path, "restore it: without it nobody can tell which patients are new", "train")
        seen.update(digests_of_ids(map(str, content["train"])), content.get(WITHDRAWN, {}).get("train", []))
    if earlier and len(digests_of_ids(patients) - seen) < standing.new_patients:
        raise Declined(f"standing: fewer than {standing.new_patients} new patients since the runs before")


def earlier_runs(plan: RunPlan, run: str, entries: Sequence[Entry]) -> set[str]:
    """Other runs under the same approval that have learnt here."""
    of_plan = {one.run for one in entries if one.standing == plan.approved_as and one.direction == "out"}
    return {one for one in of_plan if one != run and any(e.run == one and e.kind in _RELEASES for e in entries)}


def check_epsilon(plan: RunPlan, run: str, entries: Sequence[Entry], after: Spent | None) -> None:
    """Lets a release pass, be it of an update or of embeddings, that keeps within what may be spent in a year.

    Args:
        plan: of the order.
        run: its name.
        entries: of the site's ledger.
        after: what the run will have spent after the release; None if nothing counts it.

    Raises:
        Declined: if it does not.
    """
    if plan.standing is None or plan.standing.epsilon_a_year is None:
        return
    if after is None:
        raise Declined("standing: epsilon_a_year: the run cannot say what it spends")
    most = plan.standing.epsilon_a_year
    of_plan = [one for one in entries if one.standing == plan.approved_as and one.direction == "out"]
    total = total_after(_within(of_plan, _YEAR), run, after).epsilon
    if not total <= most * (1 + 1e-9):
        raise Declined(f"standing: epsilon_a_year: {total:.4g} would be spent within a year, {most:g} approved")


def _within(entries: Sequence[Entry], span: timedelta) -> list[Entry]:
    since = (datetime.now(UTC) - span).isoformat(timespec="milliseconds")
    return [one for one in entries if one.time >= since]
