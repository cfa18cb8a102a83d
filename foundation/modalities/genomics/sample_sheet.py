"""A sheet of samples: whose each is, where neither a sample's name nor a file's says so."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, model_validator

from foundation.data.columns import codes, nearest
from foundation.data.dialect import Dialect
from foundation.data.problems import Problems, refuse
from foundation.data.strict import Word
from foundation.data.table_files import Reading, as_text, read_frame

# Sheets that portals write: the column of the files' or samples' names, of patients, of samples.
_PORTALS = (
    ("File Name", "Case ID", "Sample ID"),  # of the Genomic Data Commons, beside a download
    ("SAMPLE_ID", "PATIENT_ID", "SAMPLE_ID"),  # cBioPortal's data_clinical_sample.txt
)

_NAME = "name"  # of the index, whatever the sheet calls it


class SampleSheet(Dialect):
    """The table of samples; a plain text is its file.

    Args:
        file: in the hospital's folder.
        name: column of the names by which the table of genes knows samples, or of the files' where each holds one;
            with the other two, as the Genomic Data Commons or cBioPortal calls them if None.
        patient: column of their patients.
        sample: column that `samples` chooses by; `name` if None.
        where: column → cells of the samples that are kept.
    """

    file: str
    name: str | None = None
    patient: str | None = None
    sample: str | None = None
    where: dict[str, list[Word]] = Field({})

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, declared: Any) -> Any:
        return {"file": declared} if isinstance(declared, str) else declared

    @model_validator(mode="after")
    def _both(self) -> "SampleSheet":
        if (self.name is None) != (self.patient is None):
            raise ValueError("give both name and patient, or neither of a portal's sheet")
        return self

    def owners(self, folder: Path, names: "pd.Series[str]", problems: Problems) -> pd.DataFrame:
        """Of each name its `patient` and `sample`, None where the sheet's rule `where` leaves it out.

        Args:
            folder: the hospital's.
            names: as the table of genes has them; missing ones stay so.
            problems: takes how many are left out.

        Raises:
            DataError: if the sheet cannot be read, or does not say whose a sample is, or says it twice.
        """
        path = folder / self.file
        table = read_frame(path, self, Reading())
        name, patient, sample = self._columns(path, table.names)
        rows = pd.DataFrame(
            {
                "patient": [_one_case(cell) for cell in as_text(table.frame[patient])],
                "sample": as_text(table.frame[sample]).to_numpy(),
            },
            pd.Index(as_text(table.frame[name]), name=_NAME),
        )
        fits = pd.Series(True, table.frame.index)
        for column, words in self.where.items():
            self._require(path, table.names, column)
            fits &= codes(table.frame[column]).isin(words)
        known = names.dropna()
        lost = known[~known.isin(rows.index)]
        if len(lost):
            advice = "complete the sheet, or name the column under annotation if it is no sample"
            raise refuse(path, f"{len(lost)} samples are not in it, the first", advice, field=name, value=lost.iloc[0])
        rows, kept = rows[rows.index.isin(known)], fits.to_numpy()[rows.index.isin(known)]
        told = rows.reset_index().drop_duplicates()[_NAME]
        if told.duplicated().any():
            value = told[told.duplicated()].iloc[0]
            raise refuse(path, "says twice whose a sample is", "keep one row", field=name, value=value)
        if rows["patient"].isna().any():
            value = rows.index[rows["patient"].isna()][0]
            raise refuse(path, "names no patient, or several", "mend the cell", field=patient, value=value)
        left = set(rows.index) - set(rows.index[kept])
        problems.tell(path, f"samples that are not {self._rule()}, left out", len(left))
        rows = rows[~rows.index.duplicated() & ~rows.index.isin(list(left))]
        return rows.reindex(names.to_numpy()).set_axis(names.index).astype(object)

    def _columns(self, path: Path, names: list[str]) -> tuple[str, str, str]:
        if self.name is None or self.patient is None:
            usual = next((each for each in _PORTALS if set(each) <= set(names)), None)
            if usual is None:
                advice = "say name: and patient:, the columns of samples' (or files') names and of patients"
                raise refuse(path, "no sheet of a known portal", advice, field="name", value=", ".join(names[:4]))
            return usual[0], usual[1], self.sample or usual[2]
        for name in (self.name, self.patient, self.sample or self.name):
            self._require(path, names, name)
        return self.name, self.patient, self.sample or self.name

    def _require(self, path: Path, names: list[str], name: str) -> None:
        if name not in names:
            raise refuse(path, "no such column", nearest(name, names, "declare the one it has"), field=name)

    def _rule(self) -> str:
        return " and ".join(f"{column} {' or '.join(words)}" for column, words in self.where.items())


def _one_case(cell: str | None) -> str | None:
    """The case of a cell, which the Genomic Data Commons repeats for files of tumour and normal tissue."""
    cases = set() if cell is None else {case.strip() for case in cell.split(",")}
    return cases.pop() if len(cases) == 1 else None
