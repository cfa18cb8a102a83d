"""At a hospital, who withdrew is found behind a federated run, and behind what it was handed of that run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from foundation.data.cohort import Cohort
from foundation.data.withdrawals import (
    affected_by_withdrawal,
    as_text,
    blind_lists,
    blind_query_sets,
    remove_caches,
    to_json,
)
from foundation.federation.runtime.command import federate
from foundation.files import read_json, write_json
from foundation.lineage import LEARNED_IN, NOTE, federated_runs
from foundation.run_record import RunRecord
from tests.finetune.federated.conftest import Configure
from tests.run_files import naming

HOSPITAL = "riverside"


@pytest.fixture
def hospital(configured: Configure, tmp_path: Path) -> Path:
    """A hospital's folder after a run of three: its home, and the run as it was handed out, which names nobody."""
    federate(configured("rounds=1", "steps_per_round=1"), "python -m finetune.federated")
    run, folder = tmp_path / "run", tmp_path / "hospital"
    shutil.copytree(run / "sites" / HOSPITAL, folder / "home")
    shutil.copytree(run, folder / "received", ignore=shutil.ignore_patterns("sites", "split.json", "embeddings"))
    data = read_json(run / "run.json", "")["data"]
    with RunRecord.open(tmp_path / "export", "python -m serve.export", {}, 0, [run], data) as record:
        record.note(LEARNED_IN, federated_runs(run))
    shutil.copytree(tmp_path / "export", folder / "bundle")
    shutil.rmtree(run)
    return folder


@pytest.fixture
def without(small_cohort: Path, tmp_path: Path) -> Callable[[list[str]], Cohort]:
    """The hospital's own cohort after some have withdrawn."""

    def made(gone: list[str]) -> Cohort:
        folder = tmp_path / f"own without {len(gone)}"
        shutil.copytree(small_cohort, folder)
        content = read_json(folder / "cohort.json", "")
        for other in [name for name in content["hospitals"] if name != HOSPITAL]:
            shutil.rmtree(folder / other)
        content["hospitals"] = [HOSPITAL]
        write_json(folder / "cohort.json", content)
        path = folder / HOSPITAL / "patients.parquet"
        table = pd.read_parquet(path)
        table[~table.index.isin(gone)].to_parquet(path)
        return Cohort(folder)

    return made


def listed(hospital: Path, part: str) -> list[str]:
    (path,) = (hospital / "home" / "trained_on").glob("*.json")
    return [str(one) for one in read_json(path, "")[part]]


def test_releases_of_a_federated_run_are_named_at_the_hospital(hospital: Path, without: Callable[[list[str]], Cohort]):
    gone = [*listed(hospital, "train")[:2], listed(hospital, "validation")[0]]
    count, affected = affected_by_withdrawal(without([]), [hospital])
    assert (count, [one for one in affected if one.patients or one.elsewhere]) == (0, [])
    count, affected = affected_by_withdrawal(without(gone), [hospital])
    assert count == 3
    by_name = {one.run.name: one for one in affected}
    learned = {name: one.patients for name, one in by_name.items() if one.patients}
    assert learned == {"received": 3, "bundle": 3, "trained_on": 3}
    assert [path.parent.name for path in by_name["trained_on"].files] == ["trained_on"]
    assert by_name["trained_on"].elsewhere == []
    for text in (as_text(count, affected), to_json(count, affected)):
        assert not any(patient in text for patient in gone)
    assert "received: python -m finetune.federated: learned from 3 of them" in as_text(count, affected)


def test_run_of_which_nothing_came_back_is_told_by_its_name(hospital: Path, without: Callable[[list[str]], Cohort]):
    name = read_json(hospital / "received" / "run.json", "")["notes"][NOTE]["run"]
    for folder in ("received", "bundle"):
        shutil.rmtree(hospital / folder)
    count, affected = affected_by_withdrawal(without(listed(hospital, "train")[:1]), [hospital])
    assert (count, [one.elsewhere for one in affected]) == (1, [[name]])
    assert f"federated run {name}, of which nothing lies here, did: tell its operator" in as_text(count, affected)


def test_no_file_of_a_hospital_names_who_withdrew(hospital: Path, without: Callable[[list[str]], Cohort]):
    gone = [*listed(hospital, "train")[:2], listed(hospital, "validation")[0]]
    cohort = without(gone)
    count, affected = affected_by_withdrawal(cohort, [hospital])
    remove_caches(affected)
    blind_lists(affected, cohort)
    blind_query_sets(affected, cohort)
    assert naming(hospital, gone) == []
    again, told = affected_by_withdrawal(cohort, [hospital])
    learned = {one.run.name: one.patients for one in told if one.patients}
    assert (again, learned) == (count, {"received": 3, "bundle": 3, "trained_on": 3})
