"""A run is about the cohort that it names."""

from pathlib import Path

import pytest

from foundation.data.cohort import Cohort
from foundation.data.dictionary import read_prepared
from foundation.errors import UserError


def test_a_missing_cohort_is_never_mended_by_writing_the_synthetic_one_under_its_name(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        read_prepared(tmp_path / "luad")
    advice = f"prepare cohort=folder cohort.name=NAME cohort.root=FOLDER output={tmp_path / 'luad'} "
    assert advice in str(caught.value)


def test_a_cohort_of_another_name_is_refused(small_cohort: Path):
    cohort = Cohort(small_cohort)
    cohort.check_name("demo")
    with pytest.raises(UserError, match=r"holds cohort 'demo' \(synthetic patients\), and cohort.name is 'luad'"):
        cohort.check_name("luad")
