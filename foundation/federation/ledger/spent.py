"""Differential privacy spent so far, as a site's own ledger counts it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from foundation.federation.ledger.entry import Entry, Kind

UPDATES: tuple[Kind, ...] = ("update", "statistics")  # what a run's privacy counts
EMBEDDINGS: tuple[Kind, ...] = ("embeddings",)  # what its extension counts
_RELEASES = (*UPDATES, *EMBEDDINGS)  # each draws noise of its own


@dataclass(frozen=True)
class Spent:
    """A privacy loss; two of them add up (basic composition, Dwork and Roth 2014, theorem 3.16).

    Attributes:
        epsilon: of it.
        delta: of it.
    """

    epsilon: float = 0.0
    delta: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.epsilon + other.epsilon, self.delta + other.delta)


def spent_by_run(entries: Iterable[Entry]) -> dict[str, Spent]:
    """What each run has spent.

    Entries hold what a run has spent so far, so it rises from one release to the next. Where it does not, the count
    was begun anew (the run was repeated under its name, or a round was), and what was spent before is added.
    """
    closed: dict[str, Spent] = {}
    running: dict[str, Spent] = {}
    for entry in entries:
        if entry.direction != "out" or entry.epsilon is None:
            continue
        now, before = Spent(entry.epsilon, entry.delta or 0.0), running.get(entry.run)
        anew = before is not None and now.epsilon <= before.epsilon and entry.kind in _RELEASES
        if before is not None and (anew or now.epsilon < before.epsilon):
            closed[entry.run] = closed.get(entry.run, Spent()) + before
        running[entry.run] = now
    return {run: closed.get(run, Spent()) + last for run, last in running.items()}


def total_after(entries: Iterable[Entry], run: str, after: Spent) -> Spent:
    """What all runs together will have spent once a run has sent an update and thereby spent `after`."""
    sent = Entry(
        index=0,
        previous="",
        time="",
        kind="update",
        direction="out",
        run=run,
        epsilon=after.epsilon,
        delta=after.delta,
    )
    return sum(spent_by_run([*entries, sent]).values(), Spent())


def releases(entries: Iterable[Entry], run: str, kinds: Sequence[Kind] = _RELEASES) -> int:
    """How often a run has sent something that was learnt from patients: the number that an accountant composes."""
    return sum(entry.direction == "out" and entry.run == run and entry.kind in kinds for entry in entries)
