"""What run records tell of training: which modalities any patient trained."""

from collections.abc import Iterable
from typing import Any


def taught(records: Iterable[dict[str, Any]]) -> set[str]:
    """The modalities, among other parameter groups, that any patient trained.

    Args:
        records: `run.json` of a run and of those that it builds on.
    """
    names: set[str] = set()
    for record in records:
        notes = record.get("notes", {})
        samples = notes.get("samples", {})
        by_site = samples.values() if all(isinstance(value, dict) for value in samples.values()) else [samples]
        names |= {name for counts in by_site for name, count in counts.items() if count}
        names |= {name for name, count in notes.get("modalities", {}).items() if count}
        # Sites whose updates were summed in secret say nothing one by one.
        names |= {name for name, shares in notes.get("coverage", {}).items() if any(shares.values())}
    return names
