"""The sets of patients behind answers: never nearly the same twice, and only so many a day.

Two answers about sets that differ by a few patients tell, by their difference, about those few (Dinur and Nissim 2003).
A set lies in the site's state folder under its digest, which stands in the ledger with every answer about it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from foundation.federation.ledger.entry import Entry
from foundation.federation.policy import Declined
from foundation.federation.site.config import Site
from foundation.files import read_json, write_json
from foundation.run_record import digest_of

_QUERIES = ("statistics", "evaluation")
_ADVICE = "remove it only together with this site's ledger"


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
    folder, asked, digest = site.state / "asked", set(patients), query_digest(patients)
    for path in folder.glob("*.json"):
        if path.stem != digest and len(asked ^ set(read_json(path, _ADVICE, "patients")["patients"])) < least:
            raise Declined(
                f"queries: an earlier answer was about nearly the same patients, and the two together would tell about "
                f"fewer than {least}"
            )
    if not (folder / f"{digest}.json").is_file():
        write_json(folder / f"{digest}.json", {"patients": sorted(asked)})
