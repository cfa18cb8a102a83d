"""Figures of how far answers can be relied on: each rests on the patients whom it is about."""

import numpy as np

from finetune.statistics.reliability import ReliabilityStatistics
from foundation.statistics.figure import Support


def test_a_figure_rests_on_those_alone_whom_it_is_about():
    patients = 20
    answers = np.zeros((patients, 7))
    answers[:, 0] = [1] * 18 + [0] * 2  # truths known of eighteen
    answers[:, 1] = answers[:, 0]
    answers[:, 2] = 1
    answers[:, 4] = [1] * 12 + [0] * 8  # abstained on twelve: six of the others have a truth
    answers[:, 5] = [0.0] * 17 + [1.0] + [np.nan] * 2
    answers[:, 6] = 0.9
    statistics = ReliabilityStatistics(0.9)
    tables = statistics.tables({}, answers, ["riverside"] * patients)
    measures = statistics.measures(tables, Support())
    assert {name: measure.n for name, measure in measures.items()} == {
        "coverage": 18,
        "region_size": 20,
        "out_of_distribution": 20,
        "abstained": 20,
        "risk_answered": 6,
        "risk": 18,
        "area_under_risk_coverage": 18,
    }
    assert measures["risk_answered"].lack(Support()) == "6 patients, of 10 that it takes"
    assert measures["risk"].lack(Support()) is None
