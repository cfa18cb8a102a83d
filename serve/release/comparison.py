"""A challenger beside the release in use, on the same held-out patients: overall, by hospital and by subgroup."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from finetune.subgroups import groups
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.statistics.comparison import simultaneous
from foundation.statistics.figure import Support, percentiles
from foundation.statistics.table import Floats
from foundation.statistics.weights import poisson_weights
from serve.card.pairs import Pair, matched, measures
from serve.card.predictions import read_predictions
from serve.release.rules import ALL, Check, Evidence, Rules, Verdict

PREDICTIONS = "predictions.parquet"
_REPLICATES, _KEY = 1000, "release"
_SUPPORT = Support()
_HOSPITAL = "hospital"
_AGAIN = "run python -m finetune.evaluate again"
_NO_INTERVAL = "no interval in enough replicates"


def compare(
    release: str, folder: Path, against: str | None, before: Path | None, rules: Rules, cohort: Cohort | None
) -> Evidence:
    """Holds a challenger against the rules.

    Args:
        release: its name.
        folder: with `predictions.parquet` of its evaluation.
        against: name of the release in use.
        before: the same file of that one's, on these patients; None where there is none.
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
        checks += _abstention(before, folder, rules)
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
    defined, in_groups = 0, []
    for group, level, part in _parts(both, levels):
        for output, rows in part.groupby("output", sort=False):
            pairs = list(measures(str(output), rows))
            defined += len(rows) if pairs and group == _HOSPITAL else 0
            if group == ALL:
                yield from (_no_worse_overall(pair, rules) for pair in pairs)
            else:
                in_groups += [(pair, group, level) for pair in pairs]
            if not pairs:
                yield Check(f"no worse, {output}", group, level, len(rows), "undefined", why=_lack(rows))
    yield from _no_worse_in_groups(in_groups)
    rule = f"share of these at hospitals where figures are defined, at least {rules.defined:g}"
    share = defined / max(1, len(both))
    yield Check(rule, ALL, ALL, defined, "held" if share >= rules.defined else "broken", share)


def _no_worse_overall(pair: Pair, rules: Rules) -> Check:
    """Non-inferiority: the whole interval of the gain over the release in use lies above minus the margin.

    Every such figure must hold, so that a release that is worse by the margin passes with chance 0.025 at most however
    many there are (an intersection-union test, Berger 1982), and no interval is widened for their number.
    """
    margin = rules.auroc if _more_is_better(pair) else rules.brier
    if "absolute" in pair.measure:
        margin = rules.error * abs(pair.before)
    rule, gain = f"no worse, {pair.output}, {pair.measure}, margin {margin:.3g}", pair.difference
    if gain.value is None or gain.low is None or gain.high is None:
        return Check(rule, ALL, ALL, pair.n, "undefined", why=_NO_INTERVAL)
    value, low, high = gain.value, gain.low, gain.high
    if not _more_is_better(pair):
        value, low, high = -value, -high, -low
    return Check(rule, ALL, ALL, pair.n, "broken" if low < -margin else "held", value, low, high)


def _no_worse_in_groups(pairs: Sequence[tuple[Pair, str, str]]) -> Iterator[Check]:
    """A gain wholly below zero is a loss; intervals hold for all groups and measures at once.

    Each figure at zero would be refused by chance: of many, nearly every challenger. So all that are declared are one
    family, of which an equal challenger loses any with chance 0.05 at most, on either side together.
    """
    signs = [1 if _more_is_better(pair) else -1 for pair, _, _ in pairs]
    gains = [sign * pair.replicates for sign, (pair, _, _) in zip(signs, pairs, strict=True)]
    intervals = simultaneous(gains, _SUPPORT.defined)
    joint = f"jointly over {sum(one is not None for one in intervals)}"
    for (pair, group, level), gain, interval in zip(pairs, gains, intervals, strict=True):
        rule = f"no worse, {pair.output}, {pair.measure}, {joint}"
        if interval is None:
            yield Check(rule, group, level, pair.n, "undefined", why=_NO_INTERVAL)
        else:
            verdict: Verdict = "broken" if interval[1] < 0 else "held"
            yield Check(rule, group, level, pair.n, verdict, float(gain[0]), *interval)


def _more_is_better(pair: Pair) -> bool:
    return pair.measure.startswith("AUROC")


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
            means = _means((rows["probability"] - rows["label"]).to_numpy(float), rows["patient"].tolist())
            low, high = percentiles(means[1:][np.isfinite(means[1:])])
            beyond = low > rules.calibration or high < -rules.calibration
            yield Check(rule, group, level, len(rows), "broken" if beyond else "held", float(means[0]), low, high)


def _abstention(before: Path, folder: Path, rules: Rules) -> Iterator[Check]:
    """How much less it abstains than the release in use on the same patients, overall and at each hospital."""
    rule = f"abstains no more, by more than {rules.abstention:g}"
    earlier, later = (_abstained(one / PREDICTIONS) for one in (before, folder))
    if len(earlier) and not len(later):
        yield Check(rule, ALL, ALL, 0, "broken", why="its evaluation does not tell on whom it abstains")
    if len(later) and not len(earlier):
        yield Check(rule, ALL, ALL, 0, "undefined", why="not known of the release in use")
    both = pd.DataFrame({"before": earlier, "after": later}).dropna().rename_axis("patient").reset_index()
    for group, level, part in _parts(both, _hospitals(folder)) if len(both) else ():
        lack = _SUPPORT.lack(len(part))
        if lack is not None:
            yield Check(rule, group, level, len(part), "undefined", why=lack)
            continue
        means = _means((part["before"] - part["after"]).to_numpy(float), part["patient"].tolist())
        low, high = percentiles(means[1:][np.isfinite(means[1:])])
        verdict: Verdict = "broken" if high < -rules.abstention else "held"
        yield Check(rule, group, level, len(part), verdict, float(means[0]), low, high)


def _abstained(path: Path) -> "pd.Series[float]":
    """By test patient, 1 where a model abstains and 0 where not; empty of one that cannot."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # whose words may quote a patient's row
        raise UserError(f"{path}: not readable; {_AGAIN}") from error
    table = table[(table["split"] == "test") & (table["subset"] == "all")].drop_duplicates("patient")
    if "abstained" not in table:
        return pd.Series(dtype=float)
    values = table.set_index("patient")["abstained"]
    if not pd.api.types.is_numeric_dtype(values) or not values.isin((0, 1)).all():
        raise UserError(f"{path}: 'abstained' of a test patient is neither 0 nor 1; {_AGAIN}")
    return values.astype(float)


def _means(values: Floats, patients: Sequence[str]) -> Floats:
    """Of patients as they are, and of each replicate."""
    weights = poisson_weights(patients, _REPLICATES, _KEY)
    return np.asarray((weights @ values) / weights.sum(axis=1))


def _lack(rows: pd.DataFrame) -> str:
    outcomes = {}
    if rows["label"].isin((0, 1)).all():
        outcomes = {"without": int((rows["label"] == 0).sum()), "with": int((rows["label"] == 1).sum())}
    return _SUPPORT.lack(len(rows), outcomes) or "no measure for these answers"
