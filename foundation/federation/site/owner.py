"""What a hospital's owner does with plans that came: lists them, reads their pages, decides."""

import sys

from foundation.errors import UserError
from foundation.federation.plan import RunPlan
from foundation.federation.plan.page import page
from foundation.federation.site.anchors import reset
from foundation.federation.site.approvals import LABEL, chosen, decide, last_approved, waiting
from foundation.federation.site.components import privacy_of
from foundation.federation.site.config import Site

ACTIONS = ("list", "show", "review", "approve", "decline", "reset")


def act(site: Site, action: str, plan: str | None) -> None:
    """Does one of `ACTIONS`.

    Args:
        site: whose owner acts.
        action: see above.
        plan: the first characters of its digest, or `all`; none for `list`, `review` and `reset`.

    Raises:
        UserError: if there is no such action or plan, or nothing to reset.
    """
    if action not in ACTIONS:
        raise UserError(f"action: found {action!r}; choose from {', '.join(ACTIONS)}")
    if action == "reset":
        print(f"{site.name}: {reset(site)}; the ledger says so. Tell the federation's operator")
        return
    if action == "list":
        plans = waiting(site)
        for one in plans:
            print(f"{LABEL}{one.approved_as[:16]}  {one.task}, {one.rounds} rounds of {one.steps} steps")
        print(f"{site.name}: {len(plans)} plans wait; action=review, or show, approve or decline with plan=")
        return
    asks = action == "review"
    for one in waiting(site) if asks or plan == "all" else [chosen(site, plan or "")]:
        print(described(site, one))
        if asks and not sys.stdin.isatty():
            raise UserError("action: review asks at a terminal; elsewhere say action=approve or decline, and plan=")
        if action != "show":
            _note(site, one, _agrees(one) if asks else action == "approve")


def described(site: Site, plan: RunPlan) -> str:
    """The page of a plan at a site."""
    spent = privacy_of(plan).spent(plan.rounds)
    spends = (
        "nothing counts it: without noise, no epsilon can be told"
        if spent is None
        else f"epsilon {spent.epsilon:.3g} at delta {spent.delta:g}, if all rounds take place; evaluations and "
        "statistics carry no noise, and are not in it"
    )
    return page(plan, site.name, spends, last_approved(site, plan.task))


def _agrees(plan: RunPlan) -> bool:
    return input(f"approve this plan {_for_how_long(plan).removeprefix('approved ')}? [y/N] ").strip().lower() == "y"


def _for_how_long(plan: RunPlan) -> str:
    return "approved for one run" if plan.standing is None else "approved for every run within its bounds"


def _note(site: Site, plan: RunPlan, approve: bool) -> None:
    decide(site, plan, approve)
    print(
        f"{site.name}: {LABEL}{plan.approved_as[:16]} "
        f"{_for_how_long(plan) if approve else 'declined'}; the ledger says so"
    )
