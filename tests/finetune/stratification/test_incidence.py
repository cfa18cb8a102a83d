"""Groups by the risk of one cause: incidence as lifelines has it, and no survival that other causes would belie."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lifelines import AalenJohansenFitter

from finetune.stratification.incidence import Cause, Incidence, cause_of
from finetune.stratification.risk import RiskGroups
from finetune.trial.patients import read_scored
from foundation.errors import UserError
from foundation.files import write_json
from foundation.run_record import RunRecord

HEAD = {"settings": {"causes": ["relapse", "death"], "cause": "cause", "time": "os_days"}}
TASK = {"kind": "competing risks", "head": HEAD}
OUTPUT = "relapse by 365 days"
RNG = np.random.default_rng(0)
KIND, TIME, GROUP = RNG.choice([0.0, 1.0, 2.0], 200), RNG.permutation(np.arange(200) * 5.0 + 1), np.arange(200) % 2


def test_incidence_and_its_interval_are_those_of_lifelines_in_each_group():
    figures = Incidence.of(KIND, TIME, GROUP.astype(float), "relapse", ("low", "high")).figures([200.0, 500.0])
    for place, name in enumerate(("low", "high")):
        inside = place == GROUP
        oracle = AalenJohansenFitter().fit(TIME[inside], KIND[inside].astype(int), event_of_interest=1)
        for days in (200, 500):
            figure = figures[f"incidence/{days}_days/{name}"]
            value, variance = (
                column.loc[:days].to_numpy().ravel()[-1] for column in (oracle.cumulative_density_, oracle.variance_)
            )
            assert figure.value == pytest.approx(value, abs=1e-12)
            assert figure.high - figure.value == pytest.approx(1.959963984540054 * np.sqrt(variance), rel=1e-9)
            assert figure.outcomes == {
                "events": int((KIND[inside] == 1).sum()),
                "other causes": int((KIND[inside] == 2).sum()),
                "censored": int((KIND[inside] == 0).sum()),
            }


def test_few_patients_beyond_a_horizon_give_a_reason_and_no_number():
    figures = Incidence.of(KIND, TIME, GROUP.astype(float), "relapse", ("low", "high")).figures([990.0])
    assert figures["incidence/990_days/low"].value is None
    assert figures["incidence/990_days/low"].reason.endswith(
        "of the group followed beyond 990 days, of 5 that it takes"
    )


@pytest.fixture
def scored(evaluated):
    """Scores of the cohort's patients, one in three of whose events is of the other cause."""
    read = read_scored(evaluated("competing risks", task=TASK), ["test"], output="event by 365 days")
    table = read.table
    other = 1.0 + (np.arange(len(table)) % 3 == 0)
    return replace(read, table=table.assign(cause=table["os_event"] * other), output=OUTPUT)


def test_a_page_of_one_cause_tells_incidence_and_cause_specific_hazards(scored):
    page = RiskGroups(cuts=[float(np.median(scored.score))], horizons=[200]).run(scored, 0)
    titles = [part["title"] for part in page.sections]
    assert titles[0] == "Incidence of relapse by risk group"
    assert not any("survival" in name or "rmst" in name for name in page.figures)
    assert page.figures["risk/log_rank_p"].estimator.startswith("cause-specific hazards of relapse: p of the log-rank")
    known = scored.table.dropna(subset=["cause", "os_days"])
    high = known["score"] >= np.median(scored.score)
    oracle = AalenJohansenFitter(calculate_variance=False, jitter_level=1e-9, seed=0)
    curve = oracle.fit(
        known["os_days"][high], known["cause"][high].astype(int), event_of_interest=1
    ).cumulative_density_
    assert page.figures["risk/incidence/200_days/high"].value == pytest.approx(curve.loc[:200.5].iloc[-1, 0], abs=1e-6)
    assert page.figures["risk/incidence/200_days/high"].outcomes["events"] == int((known["cause"][high] == 1).sum())


def test_the_cause_is_that_of_the_score(scored):
    assert cause_of(scored.run, "death by 1095 days") == Cause("death", 2, "cause", "os_days")
    with pytest.raises(
        UserError, match="prediction: found 'event'; name the score of one of the causes relapse, death"
    ):
        cause_of(scored.run, "event")
    kinds = cause_of(scored.run, "death by 365 days").kinds(np.array([0.0, 1.0, 2.0]))
    assert kinds.tolist() == [0, 2, 1]


def test_a_cause_whose_name_begins_as_another_is_not_taken_for_it(tmp_path: Path):
    with RunRecord.open(tmp_path, "python -m finetune", {}, 0):
        pass
    settings = {"causes": ["death", "death by cancer"], "cause": "cause", "time": "os_days"}
    write_json(tmp_path / "task.json", {"kind": "competing risks", "head": {"settings": settings}})
    causes = {output: cause_of(tmp_path, output) for output in ("death by cancer by 365 days", "death by 365 days")}
    assert [cause.place for cause in causes.values()] == [2, 1]


def test_one_kind_of_event_has_no_cause(evaluated):
    assert cause_of(evaluated(), None) is None
