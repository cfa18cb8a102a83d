"""The landmark of an outcome: the day on which a prediction is made, after which nothing measured enters an input.

Van Houwelingen 2007, Dynamic prediction by landmarking in event history analysis.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from foundation.data.problems import Problems, refuse
from foundation.data.strict import Strict


class Landmark(Strict):
    """When a prediction is made.

    Args:
        date: column of the patients' table, after renaming, with the date of the index event, such as the diagnosis;
            `index_date` where patients come from FHIR.
        days: after it, on which the prediction is made.
    """

    date: str
    days: int = Field(0, ge=0)


@dataclass(frozen=True)
class Landmarks:
    """The landmark of each patient.

    Attributes:
        dates: by patient; NaT where the index date is unknown.
        days: after the index date.
        rule: in words.
    """

    dates: "pd.Series[pd.Timestamp]"
    days: int
    rule: str

    def keep(
        self, patients: "pd.Index[str]", dates: "pd.Series[pd.Timestamp]", path: Path, what: str, problems: Problems
    ) -> NDArray[np.bool_]:
        """Which of what is dated was measured on its patient's landmark or before; what is not is counted.

        Args:
            patients: whose each is; strangers' are kept, for they are dealt with elsewhere.
            dates: when each was measured, NaT where unknown, by place.
            path: where it was read.
            what: it is, in the plural.
            problems: takes the counts.
        """
        known = patients.isin(self.dates.index)
        last = self.dates.reindex(patients).to_numpy()
        measured = dates.dt.normalize().to_numpy()
        after = known & (measured > last)
        unclear = known & (np.isnat(measured) | np.isnat(last))
        problems.tell(path, f"{what} dated after the landmark ({self.rule}), left out", int(after.sum()))
        problems.tell(
            path, f"{what} without a date, or of patients without an index date, left out", int(unclear.sum())
        )
        if (after | unclear).all() and len(patients):
            finding = f"all {what} are dated after the landmark ({self.rule}), or not at all"
            problems.warn(path, finding, "check that the right column of dates is declared", field="date")
        return np.asarray(~(after | unclear))

    def note_undated(self, path: Path, what: str, problems: Problems) -> None:
        """Warns of a source of which nobody says when it was measured."""
        finding = f"nobody says whether its {what} were measured before the landmark ({self.rule})"
        advice = "say date: COLUMN in the source's declaration, or timeless: true if they never change"
        problems.warn(path, finding, advice, field="date")


def landmarks_of(patients: pd.DataFrame, landmark: Landmark, path: Path, problems: Problems) -> Landmarks:
    """The landmarks of a hospital's patients.

    Args:
        patients: as read, indexed by patient.
        landmark: declared.
        path: of the patients' table.
        problems: takes a warning where index dates are unknown.

    Raises:
        DataError: if the patients' table has no such column.
    """
    if landmark.date not in patients:
        advice = "declare the column of the index date under sources.patients.columns"
        raise refuse(path, "no such column", advice, field=landmark.date)
    written = patients[landmark.date]
    dates = pd.to_datetime(written, errors="coerce", format=None if written.dtype.kind == "M" else "ISO8601", utc=True)
    days = dates.dt.tz_localize(None).dt.normalize() + pd.Timedelta(days=landmark.days)
    rule = landmark.date + (f" + {landmark.days} days" if landmark.days else "")
    unknown = days.index[days.isna()]
    if len(unknown):
        finding = f"{len(unknown)} patients without an index date: nothing dated of theirs is read, the first"
        problems.warn(path, finding, "fill the dates, or drop these patients", field=landmark.date, value=unknown[0])
    return Landmarks(days.astype("datetime64[s]"), landmark.days, rule)


def check_landmarks(patients: pd.DataFrame, time: str, landmarks: Landmarks, path: Path, problems: Problems) -> None:
    """Warns of patients whose follow-up has ended when the prediction is made: it predicts what is known by then.

    Args:
        patients: indexed by patient.
        time: column of the days followed up from the index date.
        landmarks: of these patients.
        path: of the patients' table.
        problems: takes the warning.
    """
    ended = pd.to_numeric(patients[time], errors="coerce") < landmarks.days
    if ended.any():
        finding = f"{int(ended.sum())} patients are followed up for less than the {landmarks.days} days to the landmark"
        advice = "clear their times, so that they do not count, or declare an earlier landmark"
        problems.warn(path, f"{finding}, the first", advice, field=time, value=patients.index[ended.to_numpy()][0])
