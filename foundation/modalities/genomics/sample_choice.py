"""The samples of a table of genes: whose each is, and which of a patient's several is taken."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from foundation.data.columns import nearest
from foundation.data.landmarks import Landmarks
from foundation.data.problems import Problems, refuse
from foundation.data.row_rule import by_rule, row_dates
from foundation.data.samples import ADVICE, choose
from foundation.data.strict import with_group
from foundation.data.table_files import KEY
from foundation.modalities.genomics.gene_source import GeneSource


def owners(
    names: "pd.Series[str]", source: GeneSource, path: Path, problems: Problems, pattern: str | None = None
) -> "tuple[pd.Series[str], pd.Series[str]]":
    """Of each sample the patient, and the name by which one of several is chosen; missing where it is left out.

    Args:
        names: as the table of genes has them.
        source: its declaration.
        path: of the table, or of its files.
        problems: takes how many the sheet of samples leaves out.
        pattern: of the patient in a name; the source's if None.

    Raises:
        DataError: if the sheet of samples cannot be used.
    """
    if source.sample_sheet is not None:
        rows = source.sample_sheet.owners(source.folder(path), names, problems)
        return rows["patient"], rows["sample"]
    pattern = pattern or source.key_pattern
    return names if pattern is None else names.str.extract(with_group(pattern), expand=False), names


@dataclass(frozen=True)
class SampleChoice:
    """The choice of one table's samples.

    Attributes:
        path: of the table, for messages.
        source: its declaration.
        key: where the samples are named.
        landmarks: samples dated after them are left out.
        notes: takes what was left out.
    """

    path: Path
    source: GeneSource
    key: str
    landmarks: Landmarks | None
    notes: Problems

    def of(self, names: "pd.Series[str]", rows: pd.DataFrame | None = None) -> "tuple[pd.Series[bool], pd.Index[str]]":
        """Which samples are taken, and the patient of each.

        Args:
            names: of the samples.
            rows: of the samples, by place, where dates may stand.

        Raises:
            DataError: if the pattern does not match, or a patient stands twice and no rule says which counts.
        """
        source, path = self.source, self.path
        patient, labels = owners(names, source, path, self.notes)
        kept = labels.notna()
        if source.samples is not None:
            taken = choose(labels[kept], patient[kept].fillna(labels[kept]), source.samples, path, self.key)
            self.notes.tell(path, "samples other than those chosen (samples), left out", int((~taken).sum()), self.key)
            kept = kept & taken.reindex(kept.index, fill_value=False)
        lost = patient.isna() & kept
        if lost.any():
            finding = f"key_pattern {source.key_pattern} does not match"
            advice = "mend the pattern, name the column under annotation if it is no sample, or choose under samples"
            raise refuse(path, finding, advice, field=self.key, value=names[lost].iloc[0])
        dates = self._dates(names, rows)
        kept = self._in_time(kept, patient, dates)
        if source.unique in (None, "identical"):
            twice = patient[kept].duplicated()
            if twice.any() and source.unique is None:
                advice = f"keep one row a patient, say unique: first (or identical), or {ADVICE}"
                raise refuse(path, "patient stands twice", advice, self.key, value=patient[kept][twice].iloc[0])
        else:
            assert source.unique is not None
            taken = by_rule(patient[kept], source.unique, None if dates is None else dates[kept], alone=True)
            self.notes.tell(path, f"a patient's other samples (unique: {source.unique})", int((~taken).sum()), self.key)
            kept = kept & taken.reindex(kept.index, fill_value=False)
        return kept, pd.Index(patient[kept].to_numpy(dtype=object), name=KEY)

    def once(self, values: pd.DataFrame) -> pd.DataFrame:
        """A row a patient, of several that are identical.

        Raises:
            DataError: if two of a patient's rows differ.
        """
        twice = values.index.duplicated()
        if not twice.any():
            return values
        same = values.reset_index().duplicated().to_numpy()
        if (twice & ~same).any():
            patient = values.index[twice & ~same][0]
            advice = f"say unique: first or last, or {ADVICE}"
            raise refuse(self.path, "a patient's rows differ", advice, self.key, value=patient)
        self.notes.tell(self.path, "a patient's identical samples, taken once", int(twice.sum()), self.key)
        return values[~twice]

    def _dates(self, names: "pd.Series[str]", rows: pd.DataFrame | None) -> "pd.Series[pd.Timestamp] | None":
        column = self.source.date
        if column is None or rows is None:
            return None
        if column not in rows:
            advice = nearest(column, map(str, rows.columns), "declare the column of dates")
            raise refuse(self.path, "no such column", advice, field=column)
        dates = row_dates(rows[column].reset_index(drop=True), self.source, self.path, self.notes)
        return dates.set_axis(names.index)

    def _in_time(
        self, kept: "pd.Series[bool]", patient: "pd.Series[str]", dates: "pd.Series[pd.Timestamp] | None"
    ) -> "pd.Series[bool]":
        if self.landmarks is None or self.source.timeless:
            return kept
        if dates is None:
            self.landmarks.note_undated(self.path, "samples", self.notes)
            return kept
        early = self.landmarks.keep(pd.Index(patient[kept]), dates[kept], self.path, "samples", self.notes)
        return kept & pd.Series(early, kept.index[kept]).reindex(kept.index, fill_value=False)
