"""Patients of an evaluation or a cross-validation, with the score that a model gave them and what else is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from finetune.trial.inputs import check_outcome, label_doubt
from foundation.data.cohort import Cohort
from foundation.data.split_file import PARTS
from foundation.errors import UserError
from foundation.files import read_json
from foundation.run_record import read_run
from foundation.statistics.table import Floats

_FILE = "predictions.parquet"
_ADVICE = "give the output folder of python -m finetune.evaluate or finetune.crossvalidate"
SCORE, HOSPITAL = "score", "hospital"
_RANKED = ("survival", "regression")  # kinds of task whose prediction is the score; of others, the probability


@dataclass(frozen=True)
class ScoredPatients:
    """Patients of one split of a run, a row each.

    Attributes:
        table: by patient id: hospital, score, labels and outcomes, the record's columns, and those of a further table.
        cohort: that they are of.
        run: folder of the predictions.
        split: whose predictions these are.
        first: what a page must say before anything else; empty where there is nothing.
        subset: of modalities that predictions were made from.
        output: of the model, that is the score; None where it has one.
    """

    table: pd.DataFrame
    cohort: Cohort
    run: Path
    split: str
    first: str
    subset: str = "all"
    output: str | None = None

    @property
    def source(self) -> str:
        """Where all figures come from, for `results.json`."""
        return f"{self.run} on {self.cohort.name} {self.cohort.digest[:12]}"

    @property
    def model(self) -> Path:
        """Folder of the task model that made the predictions.

        Raises:
            UserError: if they are of several, such as of a cross-validation.
        """
        model = read_run(self.run)["config"].get("run")
        if model is None:
            raise UserError(f"{self.run}: no evaluation of one model; give the folder of python -m finetune.evaluate")
        return Path(model)

    @property
    def patients(self) -> list[str]:
        return [str(name) for name in self.table.index]

    @property
    def score(self) -> Floats:
        return np.asarray(self.table[SCORE], dtype=np.float64)

    @property
    def hospitals(self) -> list[str]:
        return [str(name) for name in self.table[HOSPITAL]]

    def column(self, name: str, setting: str) -> "pd.Series[float]":
        """A column of numbers.

        Raises:
            UserError: if there is none of that name, or it holds words.
        """
        if name not in self.table:
            raise UserError(f"{setting}: {self.cohort.name} has no column '{name}'; it has {', '.join(self.table)}")
        values = pd.to_numeric(self.table[name], errors="coerce")
        if values.notna().sum() < self.table[name].notna().sum():
            raise UserError(f"{setting}: '{name}' holds words, not numbers; name a column of numbers")
        return values

    def known(self, *names: str) -> "ScoredPatients":
        """Those of whom all these columns are known.

        Raises:
            UserError: if nobody is left.
        """
        table = self.table.dropna(subset=list(names))
        if table.empty:
            raise UserError(f"{self.run}: no patient of split '{self.split}' has {', '.join(names)}; {_ADVICE}")
        return replace(self, table=table)

    def check_outcome(self, outcome: str | None) -> None:
        """Refuses the score, and what it is made of, as an outcome; see `finetune.trial.inputs`."""
        if outcome is not None:
            check_outcome(self.run, outcome, [column.name for column in self.cohort.dictionary.record])

    def doubt(self, outcome: str | None) -> list[str]:
        """What a page says of an outcome that the model's inputs may hold; nothing where there is no such doubt."""
        return label_doubt(self.run, outcome, self.cohort.dictionary.labels)

    def survival(self) -> tuple[str, str]:
        """Names of the columns of event and time.

        Raises:
            UserError: if the cohort declares none.
        """
        if not self.cohort.dictionary.survival:
            raise UserError(f"{self.cohort.name}: its dictionary declares no survival; choose another endpoint")
        return self.cohort.dictionary.survival["event"], self.cohort.dictionary.survival["time"]


def read_scored(
    run: Path, splits: Sequence[str], subset: str = "all", output: str | None = None, table: Path | None = None
) -> ScoredPatients:
    """The patients of a run, with a log hazard, a quantity or a probability as score.

    Args:
        run: output folder of an evaluation or a cross-validation.
        splits: whose predictions; a cross-validation has one alone, `test`.
        subset: of modalities that predictions were made from.
        output: of the model, where it has several.
        table: a further CSV or Parquet file with a column `patient`, such as of a trial's arms.

    Raises:
        UserError: if the folder is another one, or does not hold what is asked for.
    """
    path = run / _FILE
    if not path.is_file():
        raise UserError(f"{path}: missing; {_ADVICE}")
    rows = pd.read_parquet(path)
    rows = _of_folds(rows, splits) if "fold" in rows else _of_evaluation(run, rows, splits, subset)
    outputs = list(dict.fromkeys(rows["output"]))
    if output is not None and output not in outputs:
        raise UserError(f"prediction: found '{output}'; the run has {', '.join(outputs)}")
    if output is None and rows.groupby("patient")[SCORE].nunique().max() > 1:
        raise UserError(f"prediction: patients have several; name one of {', '.join(outputs)}")
    rows = rows if output is None else rows[rows["output"] == output]
    scores = rows.drop_duplicates("patient").set_index("patient")[SCORE].astype("float64")
    cohort = Cohort.of_run(run)
    joined, split = _joined(cohort, scores, table), "+".join(splits)
    return ScoredPatients(joined, cohort, run, split, _first(run, splits), subset, output)


def _joined(cohort: Cohort, scores: "pd.Series[float]", table: Path | None) -> pd.DataFrame:
    """Score, hospital, outcomes and record of patients, and what a further table says of them."""
    patients = cohort.patients.loc[scores.index]
    record: list[dict[str, Any]] = [next(iter(cohort.values([name], "record")), {}) for name in scores.index]
    outcomes = [*cohort.dictionary.labels, *(cohort.dictionary.survival or {}).values()]
    columns = [HOSPITAL, *dict.fromkeys(name for name in outcomes if name in patients)]
    joined = pd.concat([patients[columns].assign(**{SCORE: scores}), pd.DataFrame(record, index=scores.index)], axis=1)
    return joined if table is None else joined.join(_further(table, set(joined), set(joined.index)))


def _of_evaluation(run: Path, rows: pd.DataFrame, splits: Sequence[str], subset: str) -> pd.DataFrame:
    again = f"run python -m finetune.evaluate with predict=[{','.join(PARTS)}]"
    for setting, column, wanted, remedy in (
        ("split", "split", splits, again),
        ("subset", "subset", [subset], "choose one of those"),
    ):
        missing = [name for name in wanted if name not in set(rows[column])]
        if missing:
            there = ", ".join(sorted(set(rows[column])))
            raise UserError(f"{setting}: the run has no predictions of '{missing[0]}', only of {there}; {remedy}")
    rows = rows[rows["split"].isin(splits) & (rows["subset"] == subset)]
    kind = read_json(run / "results.json", "evaluate again", "kind")["kind"]
    return rows.rename(columns={"prediction" if kind in _RANKED else "probability": SCORE})


def _of_folds(rows: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Estimates as rows, the mean over repeats of the folds."""
    if list(splits) != ["test"]:
        raise UserError(f"split: {', '.join(splits)} asked for; every patient of a cross-validation is in test")
    estimates = [str(name) for name in rows if str(name).startswith("estimate_")]
    long = rows.groupby("patient_id")[estimates].mean().rename_axis("patient").reset_index()
    return long.melt(id_vars="patient", value_vars=estimates, var_name="output", value_name=SCORE)


def _further(path: Path, taken: set[str], patients: set[str]) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"table: {path} is missing; give a CSV or Parquet file with a column 'patient'")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"patient": str})
    except (OSError, ValueError) as error:  # of pandas and pyarrow, whose words may quote a patient's row
        raise UserError(f"table: {path} is not readable; give a CSV or Parquet file in UTF-8") from error
    if "patient" not in table or table["patient"].duplicated().any():
        raise UserError(f"table: {path} needs a column 'patient' with each patient once")
    table["patient"] = table["patient"].astype(str)  # ids of a Parquet file may be numbers
    if not set(table["patient"]) & patients:
        raise UserError(f"table: none of {path} is a patient of the run; its column 'patient' holds the cohort's ids")
    twice = sorted(taken & set(table.columns))
    if twice:
        raise UserError(f"table: {path} has a column '{twice[0]}', which the cohort has, too; call it otherwise")
    return table.set_index("patient")


def _first(run: Path, splits: Sequence[str]) -> str:
    """That patients were seen by the model, where the run says so or the split does."""
    seen = str(read_run(run).get("notes", {}).get("seen", ""))
    if set(splits) != {"test"}:
        return f"The model has seen patients of {' and '.join(splits)}: their scores flatter it. {seen}".strip()
    return seen
