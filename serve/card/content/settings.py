"""Settings that weights depend on, as a run's record resolved them."""

from collections.abc import Mapping
from typing import Any

from foundation.run_output import BESIDE_WEIGHTS
from serve.card.chain import Evidence, Run
from serve.card.document import Table, line

# Parts of a config that tell how weights were made; others tell where things lie, or stand elsewhere in the card.
_TOLD = (
    *("method", "frozen", "steps", "rounds", "steps_per_round", "optimizer", "objective", "objective_weights", "task"),
    *("data", "best_by", "patience", "validate_every", "ema", "calibration", "reliability", "private", "encoder"),
    *("strategy", "trainer"),
)


def settings(evidence: Evidence, run: Run) -> Table | None:
    """A row a setting; None of a record without any."""
    rows = []
    for keys, value in flat(run.file.at("config", default={}), ()).items():
        if keys[0] not in _TOLD or not isinstance(value, str | int | float | bool | None):
            continue
        name, at = f"{run.id}/setting/{'/'.join(keys)}", ("config", *keys)
        words = ", ".join(keys).replace("_target_", "class").replace("_", " ")
        label = evidence.graph.derived(f"{name}/name", words, "the keys in words", [run.file.source(*at)])
        rows.append((line(label), line(evidence.graph.value(name, run.file, *at, style="setting"))))
    head = (line("setting"), line("value"))
    return Table(line("Settings:"), head, tuple(rows), folded=True) if rows else None


def flat(config: Mapping[str, Any], within: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
    """Settings that weights or figures may depend on, by the keys down to each."""
    listed: dict[tuple[str, ...], Any] = {}
    for key, value in config.items():
        keys = (*within, key)
        if ".".join(keys) in BESIDE_WEIGHTS or keys in (("run",), ("evaluation",), ("export",)):
            continue
        if isinstance(value, Mapping):
            listed |= flat(value, keys)
        else:
            listed[keys] = value
    return listed
