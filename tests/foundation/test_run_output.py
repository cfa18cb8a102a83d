"""Whose an output folder is: finished results stay, and a run resumes itself alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import AlreadyFinished, UserError
from foundation.files import read_json, write_json
from foundation.run_output import begin, claim, folder_digest
from foundation.run_record import RunRecord

COMMAND = "python -m pretrain"
CONFIG = {
    "seed": 0,
    "steps": 8,
    "output": "here",
    "resume": False,
    "overwrite": False,
    "checkpoint_every": 2,
    "data": {"folder": "data/demo", "batch_size": 16, "num_workers": 0},
    "trainer": {"accelerator": "cpu", "devices": 1},
}
DIGESTS = {"cohort": "c0", "patients": "p0"}


def run(output: Path, fails: bool = False, digests: dict[str, str] = DIGESTS, **changes: object) -> None:
    """A training run that leaves a checkpoint and curves."""
    config = CONFIG | changes
    claim(output, COMMAND, config, digests)
    try:
        begin(output, config, digests)
        with RunRecord.open(output, COMMAND, config, 0, depends_on=digests):
            for name in ("checkpoints/last.ckpt", "csv/metrics.csv", "tensorboard/events"):
                (output / name).parent.mkdir(parents=True, exist_ok=True)
                (output / name).write_text(str(changes))
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails


def resume(output: Path, digests: dict[str, str] = DIGESTS, command: str = COMMAND, **changes: object) -> None:
    claim(output, command, CONFIG | {"resume": True} | changes, digests)


def test_a_finished_output_is_not_overwritten_unasked(tmp_path):
    run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds the finished results of python -m pretrain; overwrite=true replaces"):
        claim(tmp_path, "python -m finetune", CONFIG)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    claim(tmp_path, COMMAND, CONFIG | {"overwrite": True}, DIGESTS)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file(), "it may yet be refused for another reason"
    begin(tmp_path, CONFIG | {"overwrite": True}, DIGESTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "notes.txt", "run.json"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["identity.json"]


def test_a_rerun_over_an_unfinished_run_starts_clean(tmp_path):
    run(tmp_path, fails=True)
    claim(tmp_path, COMMAND, CONFIG, DIGESTS)
    begin(tmp_path, CONFIG, DIGESTS)
    assert not (tmp_path / "csv").exists() and not (tmp_path / "tensorboard").exists()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["identity.json"]


def test_an_empty_folder_is_anybodys(tmp_path):
    (tmp_path / "encoder").mkdir()
    claim(tmp_path, COMMAND, CONFIG, DIGESTS)
    claim(tmp_path / "new", COMMAND, CONFIG, DIGESTS)
    begin(tmp_path, CONFIG, DIGESTS)
    assert (tmp_path / "encoder").is_dir(), "what no run left is nobody's to clear"


def test_a_run_resumes_itself_however_it_is_run(tmp_path):
    run(tmp_path, fails=True)
    data = {"folder": "elsewhere", "batch_size": 16, "num_workers": 4}
    resume(tmp_path, data=data, trainer={"accelerator": "cpu", "devices": 2}, checkpoint_every=5)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seed": 7}, r"seed \(0, now 7\)"),
        ({"steps": 12}, r"steps \(8, now 12: the learning rate follows a schedule over all of them\)"),
        ({"data": {"batch_size": 8}, "seed": 1}, r"data.batch_size \(16, now 8\), seed \(0, now 1\)"),
        ({"ema": 0.9}, r"ema \(null, now 0.9\)"),
        ({"digests": {"cohort": "c1", "patients": "p0"}}, "what the cohort holds"),
        ({"digests": {"cohort": "c0", "patients": "p1"}}, "which patients train"),
        ({"digests": {**DIGESTS, "encoder": "e"}}, "the encoder that it starts from"),
    ],
)
def test_another_run_is_not_resumed_and_the_differences_are_named(tmp_path, changes, names):
    run(tmp_path, fails=True)
    with pytest.raises(UserError, match=f"resume=true goes on with the run that lies there alone.* in {names}; "):
        resume(tmp_path, **changes)


def test_another_commands_run_is_not_resumed(tmp_path):
    run(tmp_path, fails=True)
    with pytest.raises(UserError, match="python -m pretrain ran there"):
        resume(tmp_path, command="python -m finetune")


def test_checkpoints_of_another_run_are_not_resumed(tmp_path):
    run(tmp_path / "a", fails=True)
    run(tmp_path / "b", fails=True, seed=1)
    os.replace(tmp_path / "a" / "run.json", tmp_path / "b" / "run.json")
    with pytest.raises(UserError, match="checkpoints of another run"):
        resume(tmp_path / "b")
    (tmp_path / "b" / "run.json").unlink()
    with pytest.raises(UserError, match=r"checkpoints without run\.json"):
        resume(tmp_path / "b")


def test_a_finished_run_has_nothing_to_resume(tmp_path):
    run(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(AlreadyFinished, match="finished already"):
        resume(tmp_path)
    with pytest.raises(UserError, match="seed"):
        resume(tmp_path, seed=7)
    assert (tmp_path / "run.json").read_bytes() == before, "later runs build on it"


def test_a_folder_that_another_process_writes_into_is_refused(tmp_path):
    run(tmp_path, fails=True)
    record = read_json(tmp_path / "run.json", "")
    code = "import psutil; print(psutil.Process().create_time(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        created = float(other.stdout.readline())
        record |= {"status": "running", "process": record["process"] | {"pid": other.pid, "created": created}}
        write_json(tmp_path / "run.json", record)
        with pytest.raises(UserError, match=f"process {other.pid} is at work there"):
            claim(tmp_path, COMMAND, CONFIG, DIGESTS)
        other.communicate("\n")
    claim(tmp_path, COMMAND, CONFIG, DIGESTS)


def test_a_folders_digest_follows_names_and_content(tmp_path):
    (tmp_path / "a").write_text("1")
    first = folder_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = folder_digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, folder_digest(tmp_path)}) == 3
