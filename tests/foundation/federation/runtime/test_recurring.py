"""Runs of a recurring plan, one after another, in this process: who is ready, who joins, whose weights go on."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from foundation.errors import AlreadyFinished, UserError
from foundation.federation.ledger import verify
from foundation.federation.runtime.command import federate
from foundation.lineage import site_list
from foundation.patient_list import write_patients
from tests.foundation.federation.linear_task import TARGET, linear_config

COMMAND = "python -m linear.federated"
ALLOWS = f"targets: [{TARGET}]\n"
SITES = ("riverside", "northgate", "lakeview")


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """Folders of the hospitals, which outlive runs."""
    for site in SITES:
        home = tmp_path / "homes" / site
        home.mkdir(parents=True)
        (home / "site.yaml").write_text(f"name: {site}\npolicy: policy.yaml\n")
        (home / "policy.yaml").write_text(ALLOWS)
    return tmp_path / "homes"


def live(cohort: Path, homes: Path, name: str, sites: tuple[str, ...], before: str | None = None) -> Path:
    """One run, by the command's own function."""
    output = homes.parent / name
    more = {
        "standing": {"new_patients": 2, "rounds_a_month": 40},
        "federation": {"kind": "serial", "homes": str(homes)},
        "continues": None if before is None else str(homes.parent / before),
        "quorum": 0.5,
        "statistics": [],
        "rounds": 1,
    }
    federate(linear_config(cohort, output, sites, **more), COMMAND)
    return output


def come_later(homes: Path, run: Path, site: str, count: int) -> None:
    """As if so many of a site's patients had come after a run."""
    name = json.loads((run / "rounds/model.json").read_text())["run"]
    path = site_list(homes / site, name)
    content = json.loads(path.read_text())
    write_patients(path, content["train"][count:], content["validation"], content["hospitals"])


def rounds(run: Path) -> list[dict]:
    return json.loads((run / "history.json").read_text())["rounds"]


def test_a_run_waits_for_hospitals_that_have_enough_and_goes_on_with_those(small_cohort: Path, homes: Path) -> None:
    first = live(small_cohort, homes, "0001", SITES)
    assert [line["absent"] for line in rounds(first)] == [{}]
    with pytest.raises(AlreadyFinished, match="not due: 0 of 3 hospitals have enough that is new, 2 are needed"):
        live(small_cohort, homes, "0002", SITES, "0001")
    assert not (homes.parent / "0002/history.json").exists()
    for site in SITES[:2]:
        come_later(homes, first, site, 2)
    third = live(small_cohort, homes, "0003", SITES, "0001")
    for line in rounds(third):
        assert sorted(line["training"]) == ["northgate", "riverside"]
        assert line["absent"] == {
            "lakeview": "declined: policy: standing: fewer than 2 new patients since the runs before"
        }
    start, last = load_file(third / "rounds/round_0000.safetensors"), load_file(first / "rounds/round_0001.safetensors")
    assert all(np.array_equal(start[name], last[name]) for name in last)
    for path in (*homes.glob("*/ledger.jsonl"), first / "ledger.jsonl", third / "ledger.jsonl"):
        assert verify(path) == []


def test_a_hospital_joins_and_another_leaves_between_runs(small_cohort: Path, homes: Path) -> None:
    first = live(small_cohort, homes, "0001", SITES[:2])
    come_later(homes, first, "riverside", 2)
    second = live(small_cohort, homes, "0002", (SITES[0], SITES[2]), "0001")
    assert [sorted(line["training"]) for line in rounds(second)] == [["lakeview", "riverside"]]
    assert json.loads((second / "run.json").read_text())["notes"]["trained_on"]["hospitals"] == [
        "lakeview",
        "riverside",
    ]


def test_a_run_goes_on_from_a_finished_run_of_the_same_model_alone(small_cohort: Path, homes: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/history\.json: missing; give the output folder of a finished"):
        live(small_cohort, homes, "0001", SITES, "nowhere")
