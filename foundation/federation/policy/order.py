"""The facts of an order, in the few words that a policy judges."""

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from foundation.federation.plan import RunPlan
from foundation.run_record import digest_of

# Settings that do not touch the weights, and how long a run waits for whom.
NOT_WEIGHTS = (
    "output",
    "resume",
    "overwrite",
    "progress",
    "compare",
    "quorum",
    "deadline",
    "join_seconds",
    "memory_mib",
)


@dataclass(frozen=True)
class Noise:
    """Differential privacy at one level.

    Attributes:
        noise_multiplier: standard deviation of the noise, in units of the clip.
        clip: length to which a contribution is clipped.
    """

    noise_multiplier: float
    clip: float


@dataclass(frozen=True)
class PrivacyFacts:
    """Protection that an order promises.

    Attributes:
        secure_aggregation: whether the server sees sums alone.
        site_dp: noise that the site puts on its update.
        example_dp: noise on each patient's gradient.
        embeddings: noise on each patient's embeddings, in units of the farthest that they can move.
        server_noise: whether it is the server that adds noise, so that what is spent rests on its word.
    """

    secure_aggregation: bool = False
    site_dp: Noise | None = None
    example_dp: Noise | None = None
    embeddings: Noise | None = None
    server_noise: bool = False


@dataclass(frozen=True)
class OrderFacts:
    """What is asked.

    Attributes:
        run: its name or digest, as the ledger writes it.
        task: `evaluate`, `statistics`, or the name of the federated task to train.
        release: of the server.
        config_digest: of the plan.
        commit: of the server's code, if it says so.
        objectives: names.
        modalities: names.
        strategy: name of its class, in small letters.
        privacy: protection.
        rounds: of the whole run.
        round: this one, counted from 1.
        steps: of this round.
        batch: patients a step; None where every step sees all.
        seconds: after which the server waits no longer; None if it always does.
        statistics: names of those that are asked for.
        embeddings: whether embeddings of patients are to leave.
        exact: whether what is asked, an evaluation or statistics, leaves without noise.
    """

    run: str
    task: str
    release: str
    config_digest: str = ""
    commit: str = ""
    objectives: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    strategy: str = ""
    privacy: PrivacyFacts = field(default_factory=PrivacyFacts)
    rounds: int = 1
    round: int = 1
    steps: int = 0
    batch: int | None = None
    seconds: float | None = None
    statistics: tuple[str, ...] = ()
    embeddings: bool = False
    exact: bool = False


def order_facts(
    plan: RunPlan, run: str, round: int, task: str, privacy: PrivacyFacts, statistics: Sequence[str] = ()
) -> OrderFacts:
    """The facts of an order, from the plan that came with it.

    Args:
        plan: of the run.
        run: its name.
        round: of the order.
        task: `evaluate`, `statistics`, or the plan's own to train.
        privacy: protection that the plan promises.
        statistics: names of those that are asked for.
    """
    return OrderFacts(
        run=run,
        task=task,
        release=plan.release,
        config_digest=plan.approved_as,
        objectives=plan.settings.objectives,
        modalities=plan.settings.modalities,
        strategy=plan.strategy.kind,
        privacy=privacy,
        rounds=plan.rounds,
        round=round,
        steps=plan.steps,
        batch=plan.settings.batch_size,
        seconds=plan.deadline,
        statistics=tuple(statistics),
    )


def config_digest(content: Mapping[Any, Any]) -> str:
    """Of a run's settings on which its weights depend, in plain values: by it checkpoints know a run."""
    return digest_of({key: value for key, value in content.items() if key not in NOT_WEIGHTS})


@cache
def shipped_targets() -> frozenset[str]:
    """Every class and function that a config of the installed release names."""
    targets: set[str] = set()
    pending = [importlib.resources.files("configs")]
    while pending:
        for entry in pending.pop().iterdir():
            if entry.is_dir():
                pending.append(entry)
            elif entry.name.endswith(".yaml"):
                targets.update(re.findall(r"\b_target_:\s*['\"]?([\w.]+)", entry.read_text(encoding="utf-8")))
    return frozenset(targets)
