"""A plan as a page in plain words, for the owner of a hospital's data."""

from collections.abc import Mapping
from typing import Any

from foundation.federation.plan.contract import RunPlan


def page(plan: RunPlan, hospital: str, spends: str, before: RunPlan | None = None) -> str:
    """What is asked, what leaves, under which protection, what it spends, and what is new.

    Args:
        plan: that awaits a decision.
        hospital: whose owner reads.
        spends: of differential privacy, in words.
        before: the plan of the same task that was approved last; None if there is none.
    """
    trains = hospital in plan.training or plan.standing is not None  # the next run may ask for the other part
    asked = [
        f"{plan.rounds} rounds of {plan.steps} steps ({plan.task})" if trains else "one evaluation, no training",
        *([] if plan.standing is None else plan.standing.lines()),
        *plan.settings.lines(),
        f"hospitals that train: {', '.join(plan.training)}",
        f"hospitals that are held out: {', '.join(plan.evaluating) or 'none'}",
        "time: " + ("as long as it takes" if plan.deadline is None else f"{plan.deadline:g} s a round"),
    ]
    leaves = [
        *(
            [
                "a difference of weights a round, with how many patients trained each part"
                if plan.secure is None
                else "a difference of weights a round, masked: the server sees sums over hospitals"
            ]
            if trains
            else []
        ),
        *(
            ["the change of this hospital's control variate a round (SCAFFOLD)"]
            if trains and plan.strategy.scaffold
            else []
        ),
        *(["losses of training, as they are"] if trains and _open_losses(plan) else []),
        "losses and retrieval scores of validation patients" if trains else "scores of this hospital's patients, once",
        *([f"statistics, once: {', '.join(plan.statistics)}"] if trains and plan.statistics else []),
        *([f"parts that stay here: {len(plan.strategy.local)} parameters"] if plan.strategy.local else []),
    ]
    parts = {
        f"Plan {plan.approved_as[:16]} for {hospital}": [f"release {plan.release}, strategy {plan.strategy.kind}"],
        "What is asked": asked,
        "What leaves": leaves,
        "Under which protection": _protection(plan),
        "What it spends": [spends],
        "What differs from the last approved plan": _changes(plan, before),
    }
    return "\n\n".join("\n".join([title, *(f"  - {line}" for line in lines)]) for title, lines in parts.items()) + "\n"


def _open_losses(plan: RunPlan) -> bool:
    return plan.noise is None or plan.noise.training_metrics


def _protection(plan: RunPlan) -> list[str]:
    lines = []
    noise = plan.noise
    if noise is None:
        lines.append("no noise: what a patient adds to an update is in it as it is")
    else:
        where = {
            "server": "the server adds the noise, and is trusted to",
            "site": "this hospital adds all of it",
            "shares": "each hospital adds a share, and masks hide single updates",
        }[noise.place]
        lines.append(f"updates are clipped to {noise.clipping.norm:g} and noised ({noise.noise_multiplier:g}): {where}")
    if plan.secure is None:
        lines.append("no masks: the server sees this hospital's own update")
    else:
        lines.append(f"masks over {plan.secure.minimum_sites} hospitals at least")
    return lines


def _changes(plan: RunPlan, before: RunPlan | None) -> list[str]:
    if before is None:
        return ["none of this task was approved here"]
    old, new = dict(_leaves(before.values())), dict(_leaves(plan.values()))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key}: {old.get(key, 'not set')} before, {new.get(key, 'not set')} now" for key in keys] or ["nothing"]


def _leaves(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in node.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return leaves
