"""The choice of one sample where a patient has several."""

from pathlib import Path
from typing import Literal

import pandas as pd

from foundation.data.problems import refuse
from foundation.data.strict import Pattern

# Sample types of TCGA: solid and blood primaries, further primaries, recurrences, metastases. Those of
# normal tissue (10 to 14) and cell lines are in no list.
_PRIMARY = [rf"^TCGA-[A-Z0-9]{{2}}-[A-Z0-9]{{4}}-{kind}" for kind in ("01", "03", "09", "05", "02", "04", "06", "07")]
Samples = Literal["primary"] | list[Pattern]
ADVICE = "say which under samples: a list of patterns, the first preferred, or primary for barcodes of TCGA"


def preferred(names: "pd.Series[str]", patients: "pd.Series[str]", rule: Samples) -> "pd.Series[bool]":
    """Of each patient, all whose names match the earliest pattern that any of the patient's does; none that match none.

    Args:
        names: text.
        patients: whose they are, by the same index.
        rule: see `choose`.
    """
    rank = _ranks(names, rule)
    return (rank < len(_patterns(rule))) & (rank == rank.groupby(patients.to_numpy()).transform("min"))


def _patterns(rule: Samples) -> list[str]:
    return _PRIMARY if rule == "primary" else rule


def _ranks(names: "pd.Series[str]", rule: Samples) -> "pd.Series[int]":
    """The place of the earliest pattern that matches each; the number of patterns where none does."""
    patterns = _patterns(rule)
    rank = pd.Series(len(patterns), names.index)
    for place, pattern in reversed(list(enumerate(patterns))):
        rank[names.str.contains(f"(?:{pattern})", regex=True).to_numpy(dtype=bool)] = place
    return rank


def choose(
    names: "pd.Series[str]", patients: "pd.Series[str]", rule: Samples, path: Path, field: str
) -> "pd.Series[bool]":
    """Which samples are taken: of each patient the one whose name matches the earliest pattern; none that matches none.

    Args:
        names: of the samples, text.
        patients: whose they are, by the same index.
        rule: patterns in order of preference; `primary` are those of TCGA's barcodes, of which the first vial is taken.
        path: of the file, for messages.
        field: in which the names stand.

    Raises:
        DataError: if nothing matches, or two samples of a patient are equally good.
    """
    rank = _ranks(names, rule)
    known = rank < len(_patterns(rule))
    if len(names) and not known.any():
        raise refuse(
            path, "no name matches a pattern of samples", "mend the patterns", field=field, value=names.iloc[0]
        )
    order = pd.DataFrame({"patient": patients, "rank": rank, "name": names})[known].sort_values(["rank", "name"])
    first = order.drop_duplicates("patient")
    if rule != "primary":
        equal = order[
            order.duplicated(["patient", "rank"])
            & order.set_index(["patient", "rank"]).index.isin(first.set_index(["patient", "rank"]).index)
        ]
        if len(equal):
            patient = equal["patient"].iloc[0]
            advice = "give patterns that tell them apart"
            raise refuse(path, f"two samples of {patient} are equally good", advice, field, value=equal["name"].iloc[0])
    return pd.Series(names.index.isin(first.index), names.index)
