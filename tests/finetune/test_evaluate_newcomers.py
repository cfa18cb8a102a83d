"""The parts on which a run is evaluated once its cohort has grown."""

import pytest

from finetune.evaluate import _with_newcomers
from foundation.data.splits import Split
from foundation.errors import UserError


def test_newcomers_of_the_test_part_are_tested_and_nobody_whom_the_run_learned_from_is() -> None:
    run = Split(["a", "b"], ["c"], ["d"])
    now = Split(["a", "b", "new"], ["c"], ["d", "later", "last"])
    assert _with_newcomers(run, now) == Split(["a", "b"], ["c"], ["d", "later", "last"])


def test_who_trained_the_run_and_is_a_test_patient_by_now_stays_where_the_run_had_them() -> None:
    run = Split(["a", "b"], ["c"], ["d"])
    assert _with_newcomers(run, Split(["b"], [], ["a", "c", "d"])) == run
    with pytest.raises(UserError, match="stands in two parts"):
        Split(["a"], [], ["a"])
