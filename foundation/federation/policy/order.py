"""The facts of an order, in the few words that a policy judges."""

import importlib.resources
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

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
    """

    secure_aggregation: bool = False
    site_dp: Noise | None = None
    example_dp: Noise | None = None
    embeddings: Noise | None = None


@dataclass(frozen=True)
class OrderFacts:
    """What is asked.

    Attributes:
        run: its name or digest, as the ledger writes it.
        task: `evaluate`, `statistics`, or the name of the federated task to train; empty before its class was judged.
        release: of the server.
        config_digest: of what the weights depend on.
        commit: of the server's code, if it says so.
        objectives: names.
        modalities: names.
        strategy: name of its class.
        privacy: protection.
        rounds: of the whole run.
        round: this one, counted from 1.
        steps: of this round.
        seconds: after which the server waits no longer; None if it always does.
        statistics: names of those that are asked for.
        embeddings: whether embeddings of patients are to leave.
        targets: classes and functions that the config has built.
        unresolved: settings that still hold `${...}`, which would be filled in from this site's machine.
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
    seconds: float | None = None
    statistics: tuple[str, ...] = ()
    embeddings: bool = False
    targets: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()


def order_facts(cfg: DictConfig, order: OrderFacts) -> OrderFacts:
    """The facts of an order with those of the config that came with it; nothing in it is built or resolved.

    Args:
        cfg: as it came, before the site's own settings are put in.
        order: what is known of it beside the config.
    """
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    leaves = list(_leaves(content, ""))
    chosen = (content.get("data") or {}).get("modalities")
    strategy = content.get("strategy") or {}
    return replace(
        order,
        config_digest=config_digest(content),
        objectives=tuple(map(str, content.get("objective") or ())),
        modalities=tuple(map(str, chosen or content.get("modality") or ())),
        strategy=str(strategy.get("_target_", "")).rpartition(".")[2],
        rounds=int(content.get("rounds", 1)),
        steps=int(content.get("steps_per_round", 0)),
        targets=tuple(sorted({str(value) for path, value in leaves if path.endswith("._target_")})),
        unresolved=tuple(path[1:] for path, value in leaves if isinstance(value, str) and "${" in value),
    )


def config_digest(content: Mapping[Any, Any]) -> str:
    """Of a run's settings on which its weights depend, in plain values: by it policies know a run, and checkpoints."""
    return digest_of({key: value for key, value in content.items() if key not in NOT_WEIGHTS})


@cache
def shipped_targets() -> frozenset[str]:
    """Every class and function that a config of the installed release names.

    A config names what is built by its dotted path, and such a path can reach any function of any installed package: a
    site that built whatever it is sent would run whatever it is sent.
    """
    targets: set[str] = set()
    pending = [importlib.resources.files("configs")]
    while pending:
        for entry in pending.pop().iterdir():
            if entry.is_dir():
                pending.append(entry)
            elif entry.name.endswith(".yaml"):
                targets.update(re.findall(r"\b_target_:\s*['\"]?([\w.]+)", entry.read_text(encoding="utf-8")))
    return frozenset(targets)


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, node
