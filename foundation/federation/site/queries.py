"""The sets of patients behind answers: no sum or difference of them is about a few, and only so many come a day.

Two answers about sets that differ by a few patients tell, by their difference, about those few; so do three of which
one is the other two and a few more (Dinur and Nissim 2003). A set lies in the site's state folder under its digest,
which stands in the ledger with every answer about it. Whoever has withdrawn since is in it by a blind id
(`foundation.query_sets`), and may be anybody who was in no set together with it: a set passes only where it would pass
whoever that is.
"""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

import numpy as np

from foundation.errors import UserError
from foundation.federation.ledger.entry import Entry
from foundation.federation.policy import Declined
from foundation.federation.site.config import Site
from foundation.query_sets import FOLDER, QuerySet
from foundation.run_record import digest_of

_QUERIES = ("statistics", "evaluation")


def query_digest(patients: Sequence[str]) -> str:
    """Of a set of patients."""
    return digest_of(sorted(patients))


def check_query(site: Site, entries: Sequence[Entry], patients: Sequence[str]) -> None:
    """Lets a question about some patients pass, and keeps whom it was about.

    Args:
        site: whose.
        entries: of its ledger.
        patients: ids of those behind the answer.

    Raises:
        Declined: if the day's questions are used up, or an earlier answer was about nearly the same patients.
    """
    most, least = site.policy.limits.queries, site.policy.patients.cell
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="milliseconds")
    today = sum(e.kind in _QUERIES and e.direction == "out" and e.time >= since for e in entries)
    if most is not None and today >= most:
        raise Declined(f"limits.queries: {most} statistics and evaluations were answered within a day")
    folder, asked, digest = site.state / FOLDER, frozenset(patients), query_digest(patients)
    if lost := {e.query for e in entries if e.kind in _QUERIES and e.query} - {p.stem for p in folder.glob("*.json")}:
        raise UserError(
            f"{folder}: the sets of {len(lost)} earlier answers, which the ledger names, are gone; restore the folder "
            "from a copy: without them nobody can tell what another answer would give away"
        )
    earlier = [QuerySet.read(path) for path in folder.glob("*.json") if path.stem != digest]
    blind = frozenset[str]().union(*(one.withdrawn for one in earlier))
    sets = [*(one.patients | one.withdrawn for one in earlier), asked]
    if any(_least_difference(asked, one) < least for one in earlier) or tells_of_few(sets, least, blind):
        raise Declined(
            f"queries: earlier answers were about nearly the same patients, and together they would tell about fewer "
            f"than {least}"
        )
    if not (folder / f"{digest}.json").is_file():
        QuerySet(asked).write(folder / f"{digest}.json")


def _least_difference(asked: AbstractSet[str], earlier: QuerySet) -> int:
    """Patients in one set and not in the other, were those who withdrew among the newcomers."""
    new, gone = len(asked - earlier.patients), len(earlier.patients - asked)
    return gone + new + len(earlier.withdrawn) - 2 * min(len(earlier.withdrawn), new)


def tells_of_few(sets: Sequence[AbstractSet[str]], least: int, blind: AbstractSet[str] = frozenset()) -> bool:
    """Whether a sum of multiples of answers about sets can be about small groups of patients alone.

    Patients who are in the same sets cannot be told apart by any such sum: they are one column of a matrix with a row a
    set. Where the rank falls once the columns of small groups are struck out, some sum is about those and no others.

    A patient by a blind id may be one by another id who is in none of the same sets, and then stands in the sets of
    both. That column is the sum of theirs, so all columns together reach no further than they do here; and a group that
    is small once all who may be others have left it is struck out. So what is told with the names is told without.

    Args:
        sets: of patients; answers about sets below the least number are withheld, and are left out.
        least: patients of a group that is not small.
        blind: those of them who are there by a blind id.
    """
    large = [one for one in sets if len(one) >= least]
    within = {patient: tuple(patient in one for one in large) for patient in set().union(*large)}
    groups, blinds = Counter(within.values()), Counter(within[patient] for patient in blind & within.keys())
    if not groups:
        return False
    columns = np.array(list(groups), dtype=np.float64).T
    size, unnamed = np.array(list(groups.values())), np.array([blinds[group] for group in groups])
    apart = columns.T @ columns == 0
    others = np.minimum(unnamed, apart @ size) + np.minimum(size - unnamed, apart @ unnamed)
    wide = size - others >= least
    return not wide.all() and bool(np.linalg.matrix_rank(columns[:, wide]) < np.linalg.matrix_rank(columns))
