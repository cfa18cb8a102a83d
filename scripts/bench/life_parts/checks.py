"""What a simulated life must have kept to, told from its ledgers and files alone."""

import itertools
from collections.abc import Callable
from pathlib import Path

from life_parts.lives import REPAIRED, Life
from life_parts.world import QUARTERS

_PREDICTIONS = "predictions.parquet"  # of whom releases were judged on, under packed names: they rest on them


def checked(life: Life, quarters: int) -> list[str]:
    """Prints how each bar stands; those that do not hold."""
    bars: dict[str, Callable[[Life, int], tuple[bool, str]]] = {
        "no promoted release is worse than the one before at any hospital beyond the interval": _no_worse,
        "the poisoned release was refused, and its twin on repaired exports was not": _poisoned,
        "who withdrew is in no file": _withdrawn,
        "the whole history is verified from ledgers": _history,
    }
    failed = []
    for bar, check in bars.items():
        held, words = check(life, quarters)
        print(f"{'held' if held else 'BROKEN'}: {bar}: {words}")
        failed += [] if held else [bar]
    return failed


def _no_worse(life: Life, quarters: int) -> tuple[bool, str]:
    from serve.release.comparison import compare
    from serve.release.registry import Registry
    from serve.release.rules import Rules

    registry, compared, worse = Registry(life.registry), 0, []
    promoted = [one["release"] for one in registry.ledger.entries() if one["event"] == "promoted"]
    for earlier, release in itertools.pairwise(promoted):
        before = next(one.runs for one in life.quarters if one.release == release) / "before"
        evidence = compare(release, registry.folder_of(release), earlier, before, Rules(), None)
        pairs = [one for one in evidence.checks if one.rule.startswith("no worse") and one.group == "hospital"]
        compared += sum(one.verdict != "undefined" for one in pairs)
        worse += [f"{release} at {one.level}" for one in pairs if one.high is not None and one.high < 0]
    words = f"{len(promoted)} promoted, {compared} figures compared by hospital"
    return not worse and len(promoted) > 1 and compared > 0, ", ".join([words, *worse])


def _poisoned(life: Life, quarters: int) -> tuple[bool, str]:
    number, where = life.world.events.poisoned
    if quarters <= number:
        return True, "not lived through"
    by_name = {one.name: one for one in life.quarters}
    poisoned, twin = by_name[QUARTERS[number]], by_name[f"{QUARTERS[number]}{REPAIRED}"]
    words = [
        f"{one.release} {'promoted' if one.promoted else 'refused'} with {len(one.broken)} rules broken"
        for one in (poisoned, twin)
    ] + twin.broken[:1]
    return (
        not poisoned.promoted and twin.promoted,
        f"labels inverted at {', '.join(where)}: {'; repaired: '.join(words)}",
    )


def _withdrawn(life: Life, quarters: int) -> tuple[bool, str]:
    """By id in no file but hospitals' own; by the name that they were packed under in tables of predictions alone."""
    from life_parts.world import KEY

    world = life.world
    ids, names = [one.encode() for one in world.withdrawn], [one.encode() for one in world.names(world.withdrawn)]
    own = {life.folder / name for name in ("drawn", "drawn-later", "hospitals", "withdrawn.txt")}
    by_id, by_name, tables = [], [], 0
    for path in (path for path in life.folder.rglob("*") if path.is_file() and path.name != KEY):
        if any(path.is_relative_to(other) for other in own):
            continue
        content = path.read_bytes()
        by_id += [path] if any(word in content for word in ids) else []
        if any(word in content for word in names):
            tables += path.name == _PREDICTIONS
            by_name += [] if path.name == _PREDICTIONS else [path]
    shown = sorted(str(path.relative_to(life.folder)) for path in (*by_id, *by_name))
    words = f"{len(ids)} withdrew; by id in {len(by_id)} files, by keyed name in {len(by_name)}"
    words += f" and in {tables} tables of predictions that releases rest on"
    return not shown, ", ".join([words, *shown[:6]])


def _history(life: Life, quarters: int) -> tuple[bool, str]:
    from serve.feedback.ledger import FeedbackLedger
    from serve.release.registry import Registry

    registry = Registry(life.registry)
    stages = registry.stages()
    agrees = all((stages[one.release] in ("promoted", "replaced")) == one.promoted for one in life.quarters)
    entries = len(registry.ledger.entries())
    ledgers = [FeedbackLedger(Path(path).parent) for path in (life.folder / "feedback").glob("*/feedback.jsonl")]
    looks = sum(len(ledger.file.entries()) for ledger in ledgers)
    return agrees and entries > 0, f"{entries} entries of the registry, {looks} of {len(ledgers)} hospitals' feedback"
