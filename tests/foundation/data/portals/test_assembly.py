"""A public cohort assembled from recorded answers: what is written, what is received twice, what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.pack import pack
from foundation.data.validation import validate
from tests.foundation.data.portals.recorded import Recorded, recorded
from tests.foundation.data.portals.recorded_content import PATIENTS

EVERYTHING = "modalities=[pathology,radiology,expression,mutations,copy_number,record]"
ROOT = Path(__file__).parents[4]
LABEL = "+labels.a={attribute: SUBTYPE, positive: [A], negative: [B]}"


@pytest.fixture(scope="module")
def portal(content):
    with recorded(content) as server:
        yield server


def command(server: Recorded, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "foundation.data.portals", *server.settings, EVERYTHING, f"output={output}", *more]


def assembled(server: Recorded, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(server, output, *more), capture_output=True, text=True, cwd=ROOT, timeout=120)


def held(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, but for what tells the time."""
    names = ("manifest.json", ".manifest.jsonl", "run.json", ".lock")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in names
    }


@pytest.fixture(scope="module")
def whole(portal, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "luad"
    done = assembled(portal, folder, LABEL)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_folder_validates_and_packs_like_any_hospitals(whole, tmp_path):
    found = validate(whole, read_declaration(whole), progress=False)
    assert found.problems.errors == []
    assert {name: counts["patients"] for name, counts in found.counts.items()} == {"north_clinic": 3, "south_clinic": 3}
    facts = pack(whole, tmp_path / "packed")
    total = {name: sum(counts[name] for counts in facts["found"].values()) for name in ("pathology", "radiology")}
    assert total == {"pathology": 6, "radiology": 2}
    cohort = Cohort(tmp_path / "packed")
    sample = cohort.sample(PATIENTS[0])
    assert sorted(sample) == ["genomics", "pathology", "radiology", "record"]
    assert sample["radiology"].shape[0] == 6
    assert set(cohort.dictionary.genes) >= {"TP53", "EGFR", "IDH1"}


def test_tables_say_what_the_portals_said(whole):
    patients = pd.read_csv(whole / "patients.csv", index_col="patient_id")
    assert patients.index.tolist() == PATIENTS
    assert patients.loc[PATIENTS[1], ["os_event", "os_days", "a"]].tolist() == [1, 101, 1]
    assert patients.loc[PATIENTS[2], ["os_event", "os_days", "a"]].tolist() == [0, 502, 0], "the last of all follow-ups"
    record = pd.read_csv(whole / "record.csv", index_col="patient_id")
    assert record.loc[PATIENTS[1], ["age", "sex", "race", "stage"]].tolist() == [61, "female", "white", "Stage II"]
    assert pd.isna(record.loc[PATIENTS[0], "race"])
    expression = pd.read_parquet(whole / "expression.parquet").set_index("patient_id")
    assert expression.shape == (5, 300) and all(name.startswith("ENSG") for name in expression)
    assert np.allclose(expression.sum(axis=1), 1e6, rtol=1e-4)
    calls = pd.read_parquet(whole / "copy_number.parquet").set_index("patient_id")
    assert calls.loc[PATIENTS[3]].to_dict() == {"EGFR": (3 + 1956) % 5 - 2, "IDH1": 0 + (3 + 3417) % 5 - 2, "TP53": -2}
    maf = pd.read_csv(whole / "mutations.maf", sep="\t")
    assert maf.groupby("Hugo_Symbol").size().to_dict() == {"EGFR": 2, "IDH1": 1, "TP53": 3}


def test_the_manifest_names_every_file_and_its_source(whole):
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["releases"]["gdc"] == "Data Release 99.0 - January 01, 2031"
    slides = [entry for entry in manifest["files"] if entry["kind"] == "pathology"]
    assert [entry["patient"] for entry in slides] == PATIENTS
    for entry in slides:
        path = whole / entry["path"]
        assert path.stat().st_size == entry["bytes"] and len(entry["md5"]) == 32 and len(entry["sha256"]) == 64
        assert f"/gdc/data/{entry['id']}" in entry["url"]
    run = json.loads((whole / "run.json").read_text())
    assert run["notes"]["patients_without_mutation"] == [PATIENTS[0], PATIENTS[4]]


def test_a_second_call_receives_nothing_and_needs_no_network(portal, whole, tmp_path):
    before = held(whole)
    asked = sum(portal.asked.values())

    again = assembled(portal, whole, LABEL)
    assert again.returncode == 0, again.stderr
    assert "received: 0.000 GB" in again.stdout
    assert sum(portal.asked.values()) == asked
    assert held(whole) == before


def test_a_damaged_file_is_received_again_and_no_other(portal, whole):
    slide = sorted(whole.glob("slides/*/*.svs"))[2]
    good, received = slide.read_bytes(), portal.received
    slide.write_bytes(good[:-1] + b"!")

    assert assembled(portal, whole, LABEL).returncode == 0
    assert slide.read_bytes() == good
    assert portal.received == received + 1


def test_a_dry_run_shows_the_plan_and_keeps_nothing(portal, tmp_path):
    received = portal.received
    done = assembled(portal, tmp_path / "luad", "dry_run=true", "patients=2")
    assert done.returncode == 0, done.stderr
    assert "TCGA-LUAD: 2 patients" in done.stdout
    assert portal.received == received
    assert not (tmp_path / "luad").exists()


def test_fewer_patients_are_a_part_of_more(portal, tmp_path):
    chosen = []
    for count in (2, 4):
        done = assembled(portal, tmp_path / str(count), f"patients={count}", "modalities=[record]")
        assert done.returncode == 0, done.stderr
        chosen.append(set(pd.read_csv(tmp_path / str(count) / "patients.csv")["patient_id"]))
    assert [len(patients) for patients in chosen] == [2, 4]
    assert chosen[0] < chosen[1]


@pytest.mark.process
def test_killed_runs_end_in_the_same_bytes_and_receive_nothing_twice(content, tmp_path):
    with recorded(content) as server:
        assert assembled(server, tmp_path / "whole").returncode == 0
        files = server.received
        for path in [f"/gdc/data/{key}" for key in server.content.files]:
            server.faults[path] = [_slowly]
        server.asked.clear()
        for kill in range(3):
            process = subprocess.Popen(command(server, tmp_path / "killed"), cwd=ROOT, stdout=subprocess.DEVNULL)
            _wait_for(server, 3 + 4 * kill, process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert not (tmp_path / "killed" / "manifest.json").exists()
        done = assembled(server, tmp_path / "killed")
        assert done.returncode == 0, done.stderr
        assert held(tmp_path / "killed") == held(tmp_path / "whole")
        assert server.received <= files + 3 * 4, "only what each kill cut off, at most one file a thread, came again"


def _slowly(_: object) -> bool:
    time.sleep(0.2)
    return False


def _wait_for(server: Recorded, count: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while server.received < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, "ended before it could be killed"
