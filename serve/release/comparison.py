"""A challenger beside the release in use, on the same held-out patients: overall, by hospital and by subgroup."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from finetune.subgroups import groups
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.files import read_json
from foundation.statistics.figure import Support, percentiles
from foundation.statistics.weights import poisson_weights
from serve.card.pairs import Pair, matched, measures
from serve.card.predictions import read_predictions
from serve.release.rules import ALL, Check, Evidence, Rules, Verdict

PREDICTIONS, RESULTS = "predictions.parquet", "results.json"
_REPLICATES, _KEY = 1000, "release"
_SUPPORT = Support()
_HOSPITAL = "hospital"
_AGAIN = "run python -m finetune.evaluate again"


def compare(
    release: str, folder: Path, against: str | None, before: Path | None, rules: Rules, cohort: Cohort | None
) -> Evidence:
    """Holds a challenger against the rules.

    Args:
        release: its name.
        folder: with `predictions.parquet` and `results.json` of its evaluation.
        against: name of the release in use.
        before: the same files of that one's, on these patients; None where there is none.
        rules: declared.
        cohort: prepared, that holds the patients; needed for subgroups.

    Raises:
        UserError: if the figures cannot be compared at all.
    """
    own = _answers(folder)
    if not len(own):
        raise UserError(f"{folder / PREDICTIONS}: no prediction of a test patient; run python -m finetune.evaluate")
    levels = _levels(folder, own, rules, cohort)
    checks, left_out = [*_calibration(own, levels, rules)], "nobody"
    if before is not None:
        both, left_out = matched(before / PREDICTIONS, folder / PREDICTIONS)
        checks += _answered(before, both, rules)
        checks += _paired(both, own, levels, rules)
        checks += _abstention(_abstained(before / RESULTS), _abstained(folder / RESULTS), rules)
    return Evidence(release, against, rules.digest, tuple(checks), left_out)


def _answers(folder: Path) -> pd.DataFrame:
    table = read_predictions(folder / PREDICTIONS)
    return table[(table["subset"] == "all") & table["prediction"].notna() & table["label"].notna()]


def _levels(folder: Path, own: pd.DataFrame, rules: Rules, cohort: Cohort | None) -> pd.DataFrame:
    """By patient, the level in each grouping."""
    levels = _hospitals(folder)
    if not rules.subgroups:
        return levels
    if cohort is None:
        raise UserError("cohort: not given; rules name subgroups, so say cohort=FOLDER, prepared, with these patients")
    tested = own["patient"].unique()
    patients = [patient for patient in levels.index if patient in cohort.patients.index]
    if len(levels.index.intersection(patients).intersection(tested)) < rules.paired * len(tested):
        finding = f"holds {len(set(patients).intersection(tested))} of {len(tested)} held-out patients of {folder.name}"
        raise UserError(f"cohort: {cohort.name} {finding}; give the prepared cohort that it was evaluated on")
    by_column = groups(cohort, patients, cohort.modalities, [50, 65], rules.subgroups)
    for name in rules.subgroups:
        for level, mask in by_column[name].items():
            levels.loc[np.array(patients)[mask], name] = level
    return levels


def _hospitals(folder: Path) -> pd.DataFrame:
    """By patient, the hospital."""
    path = folder / PREDICTIONS
    try:
        where = pd.read_parquet(path, columns=["patient", _HOSPITAL]).drop_duplicates("patient")
    except (OSError, ValueError) as error:  # whose words may quote a patient's row
        raise UserError(f"{path}: says no hospital of the patients; {_AGAIN}") from error
    return where.set_index("patient")[[_HOSPITAL]].astype(str)


def _parts(table: pd.DataFrame, levels: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    yield ALL, ALL, table
    for name in levels:
        column = levels[name].reindex(table["patient"]).to_numpy()
        for level in sorted(set(column[pd.notna(column)])):
            yield str(name), str(level), table[column == level]


def _answered(before: Path, both: pd.DataFrame, rules: Rules) -> Iterator[Check]:
    """Of those whom the release in use answered, whom it answers: else a hospital that is left out is never worse."""
    for group, level, part in _parts(_answers(before), _hospitals(before)):
        for output, rows in part.groupby("output", sort=False):
            rule = f"share whom the release in use answered, {output}, at least {rules.paired:g}"
            count, lack = rows["patient"].nunique(), _SUPPORT.lack(rows["patient"].nunique())
            if lack is not None:
                yield Check(rule, group, level, count, "undefined", why=lack)
                continue
            share = float(rows["patient"].isin(both.loc[both["output"] == output, "patient"]).mean())
            yield Check(rule, group, level, count, "held" if share >= rules.paired else "broken", share)


def _paired(both: pd.DataFrame, own: pd.DataFrame, levels: pd.DataFrame, rules: Rules) -> Iterator[Check]:
    share = both["patient"].nunique() / own["patient"].nunique()
    rule = f"share of held-out patients whom both answered, at least {rules.paired:g}"
    enough = "held" if share >= rules.paired else "broken"
    yield Check(rule, ALL, ALL, int(both["patient"].nunique()), enough, share)  # type: ignore[arg-type]
    defined = 0
    for group, level, part in _parts(both, levels):
        for output, rows in part.groupby("output", sort=False):
            pairs = list(measures(str(output), rows))
            defined += len(rows) if pairs and group == _HOSPITAL else 0
            for pair in pairs:
                yield _no_worse(pair, group, level, rules)
            if not pairs:
                yield Check(f"no worse, {output}", group, level, len(rows), "undefined", why=_lack(rows))
    rule = f"share of these at hospitals where figures are defined, at least {rules.defined:g}"
    share = defined / max(1, len(both))
    yield Check(rule, ALL, ALL, defined, "held" if share >= rules.defined else "broken", share)


def _no_worse(pair: Pair, group: str, level: str, rules: Rules) -> Check:
    """Gain over the release in use; overall above minus the margin, in a group not wholly below zero."""
    more_is_better = pair.measure.startswith("AUROC")
    gain = pair.difference
    margin = rules.auroc if more_is_better else rules.brier
    if "absolute" in pair.measure:
        margin = rules.error * abs(pair.before)
    rule = f"no worse, {pair.output}, {pair.measure}" + (f", margin {margin:.3g}" if group == ALL else "")
    if gain.value is None or gain.low is None or gain.high is None:
        return Check(rule, group, level, pair.n, "undefined", why="no interval in enough replicates")
    value, low, high = gain.value, gain.low, gain.high
    if not more_is_better:
        value, low, high = -value, -high, -low
    broken = low < -margin if group == ALL else high < 0
    return Check(rule, group, level, pair.n, "broken" if broken else "held", value, low, high)


def _calibration(own: pd.DataFrame, levels: pd.DataFrame, rules: Rules) -> Iterator[Check]:
    """The mean of chance less outcome, of a yes or no, overall and by hospital (calibration in the large)."""
    chances = own[own["probability"].notna() & own["label"].isin((0, 1))]
    for group, level, part in _parts(chances, levels[[_HOSPITAL]]):
        for output, rows in part.groupby("output", sort=False):
            rule = f"calibrated, {output}, chance less outcome within {rules.calibration:g}"
            lack = _SUPPORT.lack(len(rows))
            if lack is not None:
                yield Check(rule, group, level, len(rows), "undefined", why=lack)
                continue
            weights = poisson_weights(rows["patient"].tolist(), _REPLICATES, _KEY)
            gap = rows["probability"].to_numpy(float) - rows["label"].to_numpy(float)
            means = np.asarray((weights @ gap) / weights.sum(axis=1))
            low, high = percentiles(means[1:][np.isfinite(means[1:])])
            beyond = low > rules.calibration or high < -rules.calibration
            yield Check(rule, group, level, len(rows), "broken" if beyond else "held", float(means[0]), low, high)


class _Abstained(BaseModel):
    """The share of patients on whom a model abstains, as `results.json` has it."""

    group: str
    level: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


_ByLevel = dict[tuple[str, str], _Abstained]


def _abstention(earlier: _ByLevel, later: _ByLevel, rules: Rules) -> Iterator[Check]:
    """How much oftener it abstains than the release in use, overall and at each hospital."""
    rule = f"abstains no more, by more than {rules.abstention:g}"
    if earlier and not later:
        yield Check(rule, ALL, ALL, 0, "broken", why="its evaluation does not tell on how many it abstains")
    for key, figure in later.items():
        value, known = figure.value, earlier[key].value if key in earlier else None
        if value is None or known is None:
            yield Check(rule, *key, figure.n, "undefined", why=figure.reason or "not known of the release in use")
            continue
        low, high = (value if end is None else end for end in (figure.low, figure.high))
        verdict: Verdict = "broken" if low - known > rules.abstention else "held"
        yield Check(rule, *key, figure.n, verdict, known - value, known - high, known - low)


def _abstained(path: Path) -> _ByLevel:
    rows = read_json(path, _AGAIN).get("figures", [])
    try:
        rows = [row for row in rows if row["metric"] == "abstained" and row["model"] == "model"]
        rows = [row for row in rows if row["subset"] == "all" and row["group"] in (ALL, _HOSPITAL)]
        return {(one.group, one.level): one for one in map(_Abstained.model_validate, rows)}
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{path}: 'figures' are not those of an evaluation; {_AGAIN}") from error


def _lack(rows: pd.DataFrame) -> str:
    outcomes = {}
    if rows["label"].isin((0, 1)).all():
        outcomes = {"without": int((rows["label"] == 0).sum()), "with": int((rows["label"] == 1).sum())}
    return _SUPPORT.lack(len(rows), outcomes) or "no measure for these answers"
