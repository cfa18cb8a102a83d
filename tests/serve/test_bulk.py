"""`python -m serve.batch`: the endpoint's answers for many patients, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.polling import wait_until
from serve import bulk, host, manifest
from serve.asgi.pool import Limits
from serve.batch import main as run_batch
from serve.bundle import largest_difference
from serve.client import to_request
from serve.predictor import Predictor

STUB = """
import os, time
from serve.asgi import forking, frames
from serve.host import Reply

def work(stream):
    stream.write(frames.Frame([frames.READY], [b""]).encode()); stream.flush()
    while (frame := frames.read(stream)) is not None:
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        calls = frames.to_calls(frame)
        replies = [Reply(200, b'{"reliability": null, "echo": %s, "id": "%s"}' % (c.body, c.default_id.encode()), {})
                   for c in calls]
        stream.write(frames.of_replies(replies).encode()); stream.flush()

forking.serve(work)
"""


def table(folder: Path, requests: list[str | None], ids: list[Any] | None = None) -> Path:
    path = folder / "requests.parquet"
    names = ids or [f"P{place}" for place in range(len(requests))]
    pd.DataFrame({"patient_id": names, "request": requests}).to_parquet(path)
    return path


def lines(folder: Path) -> list[str]:
    return (folder / bulk.ANSWERS).read_text().splitlines()


@pytest.mark.process
def test_a_cohort_s_answers_are_the_endpoint_s(bundle: Path, predictor: Predictor, cohort: Cohort, tmp_path: Path):
    patients = bulk.of_cohort(cohort, predictor.schema)
    counts = bulk.answer(bundle, patients, tmp_path, Limits(batch_size=1), part_size=5)
    assert counts["answered"] == len(patients.ids) == len(lines(tmp_path))
    for name, line in list(zip(patients.ids, lines(tmp_path), strict=True))[:4]:
        request = json.dumps(to_request(cohort.sample(name), predictor.schema))
        (reply,) = host.answer(predictor, [host.Call(request, {}, name)])
        row, expected = json.loads(line), json.loads(reply.body)
        assert (row["patient_id"], row["status"]) == (name, 200)
        # Two processes' products may differ in the last digit, by where in memory the weights lie.
        assert largest_difference(row["answer"].pop("prediction"), expected.pop("prediction")) < 1e-6
        assert row["answer"] == expected


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that echoes, in the place of one that holds a model."""
    manifest.write(tmp_path)
    folder = tmp_path / "stub"
    (folder / "serve").mkdir(parents=True)
    (folder / "stub.py").write_text(STUB)
    (folder / "python").write_text(f"#!/bin/sh\nexec {sys.executable} {folder / 'stub.py'}\n")
    (folder / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


@pytest.mark.process
@pytest.mark.usefixtures("stub")
def test_parts_that_are_there_are_not_asked_again(tmp_path: Path):
    patients = bulk.of_table(table(tmp_path, [str(place) for place in range(7)], [*"abcdef", "no id of HTTP"]))
    bulk.answer(tmp_path, patients, tmp_path / "once", Limits(), part_size=3)
    whole = lines(tmp_path / "once")
    assert [json.loads(line)["answer"]["echo"] for line in whole] == list(range(7))
    assert json.loads(whole[-1]) == {
        "patient_id": "no id of HTTP",
        "status": 200,
        "answer": {"reliability": None, "echo": 6, "id": "row-6"},
    }
    part = tmp_path / "once" / "parts" / "000001.jsonl"
    part.unlink()
    asked: list[int] = []
    body = patients.body
    patients.body = lambda place: asked.append(place) or body(place)  # type: ignore[func-returns-value]
    bulk.answer(tmp_path, patients, tmp_path / "once", Limits(), part_size=3)
    assert asked == [3, 4, 5]
    assert lines(tmp_path / "once") == whole
    kept = [json.dumps({"patient_id": name, "status": 503, "problem": {}}) for name in "def"]
    part.write_text("\n".join(kept) + "\n")  # a worker was too slow, or ended
    bulk.answer(tmp_path, patients, tmp_path / "once", Limits(), part_size=3)
    assert asked == [3, 4, 5, 3, 4, 5]
    assert lines(tmp_path / "once") == whole
    foreign = part.with_name("000000.jsonl").read_text()
    for content in ("{", "[]\n", foreign, part.read_text()[: len(part.read_text()) // 2]):
        asked.clear()
        part.write_text(content)
        bulk.answer(tmp_path, patients, tmp_path / "once", Limits(), part_size=3)
        assert asked == [3, 4, 5]
        assert lines(tmp_path / "once") == whole


def test_parts_of_nobody_s_run_are_not_gone_on_with(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "out" / "parts").mkdir(parents=True)
    arguments = [f"bundle={bundle.parent}", f"patients={table(tmp_path, ['{}'])}", f"output={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["batch", *arguments, "resume=true"])
    with pytest.raises(SystemExit):
        run_batch()
    line = capsys.readouterr().err
    assert f"{tmp_path / 'out'}: parts without run.json, so nobody knows whose; drop resume=true" in line


@pytest.mark.process
@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_answers(bundle: Path, tmp_path: Path):
    requests = [json.dumps({"record": {"age": 40 + place}}) for place in range(12)]
    requests[5] = '{"report": 3}'
    arguments = [f"bundle={bundle.parent}", f"patients={table(tmp_path, requests)}", "workers=1", "part_size=2"]
    command = [sys.executable, "-m", "serve.batch", *arguments]
    subprocess.run([*command, f"output={tmp_path / 'whole'}"], check=True, capture_output=True)
    killed = subprocess.Popen([*command, f"output={tmp_path / 'killed'}"], stdout=subprocess.DEVNULL)
    parts = tmp_path / "killed" / "parts"
    assert wait_until(lambda: len(list(parts.glob("*.jsonl"))) >= 2, every=0.002, seconds=120)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    again = [*command, f"output={tmp_path / 'killed'}", "resume=true"]
    done = subprocess.run(again, check=True, capture_output=True, text=True)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    assert done.stdout.splitlines()[-1] == "11 answered, 1 refused, 1 refused with 422"
    other = subprocess.run([*again, "part_size=3"], check=False, capture_output=True, text=True)
    assert other.returncode == 2 and "part_size (2, now 3)" in other.stderr


@pytest.mark.parametrize(
    ("requests", "ids", "reason"),
    [
        (["{}", "{}"], ["a", "a"], "row 0: patient_id stands there twice"),
        ([None], ["a"], "row 0: request is empty"),
        (["{}", "{}"], ["a", None], "row 1: patient_id is empty"),
        (["{}", "{}"], ["a", ""], "row 1: patient_id is empty"),
        (["{}", "{}"], ["a", " "], "row 1: patient_id is empty"),
        (["{}"], [1.5], "row 0: patient_id is a float"),
        (["{}"], [["a"]], "row 0: patient_id is a list"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, requests: list[str | None], ids: list[Any], reason: str):
    with pytest.raises(UserError, match=reason):
        bulk.of_table(table(tmp_path, requests, ids))
    (tmp_path / "requests.parquet").write_text("none")
    with pytest.raises(UserError, match="cannot be read; give a prepared cohort's folder, or a Parquet file"):
        bulk.of_table(tmp_path / "requests.parquet")


def test_patients_that_are_not_there_are_told_with_both_forms_they_may_have(tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere: is not there; give a prepared cohort's folder, or a Parquet file"):
        bulk.of_table(tmp_path / "nowhere")
