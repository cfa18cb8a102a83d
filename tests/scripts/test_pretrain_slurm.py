"""The launcher for Slurm: when it queues a job again, and, on a real Slurm, that the job's weights don't show it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.scripts.slurm_cluster import INSTALLED, Cluster, running, until
from tests.scripts.test_launch import ENVIRONMENT, FOLDER, ROOT, TOY, calls, checkpoint, value, write_stub
from tests.scripts.test_launch import stubs as stubs

SCRIPT = FOLDER / "pretrain_slurm.sh"
JOB = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
JOB |= {"SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "8"}


def started(environment: Path, run: str) -> subprocess.Popen[str]:
    """The script as Slurm would start it; `run` is what the processes that it starts do."""
    write_stub(environment, "srun", run.format(last=environment / "run" / "seed_3" / "checkpoints" / "last.ckpt"))
    return subprocess.Popen(
        ["bash", str(SCRIPT), f"output={environment / 'run'}", "steps=9"],
        env=os.environ | JOB | {"VENV": str(environment)},
        stdout=subprocess.PIPE,
        text=True,
    )


def requeued(environment: Path) -> bool:
    return "scontrol requeue 7" in calls(environment)


def test_every_process_is_a_rank_of_a_run_with_a_folder_a_seed(stubs: Path):
    checkpoint(stubs / "run" / "seed_3")
    assert started(stubs, "echo $MASTER_ADDR > $VENV/address").wait() == 0
    (call,) = [call for call in calls(stubs) if call.startswith("srun")]
    settings = {"seed": "3", "resume": "true", "trainer.devices": "4", "trainer.num_nodes": "2", "--cpus-per-task": "8"}
    assert {name: value(call, name) for name in settings} == settings
    assert value(call, "output") == str(stubs / "run" / "seed_3")
    assert (stubs / "address").read_text() == "first-node\n"
    assert not requeued(stubs)


@pytest.mark.parametrize(
    ("run", "again"),
    [
        ("touch {last}; exit 2", True),
        ("exit 2", False),
        ("touch {last}", False),
    ],
    ids=["stopped further on", "failed where it began", "finished"],
)
def test_a_run_that_ended_early_is_queued_again_as_long_as_it_gets_further(stubs: Path, run: str, again: bool):
    checkpoint(stubs / "run" / "seed_3")
    code = started(stubs, run).wait()
    assert code == (2 if "exit" in run else 0)
    assert requeued(stubs) == again


def test_a_checkpoint_that_is_a_folder_counts_too(stubs: Path):
    last = checkpoint(stubs / "run" / "seed_3") / "checkpoints" / "last.ckpt"
    last.unlink()
    last.mkdir()
    (last / "rank_0.pt").touch()
    started(stubs, "sleep 0.1; touch {last}/rank_0.pt; exit 2").wait()
    assert requeued(stubs)


# Until it is told to stop; `wait`, for bash acts on no signal before a program in the foreground has ended.
RUNS = "trap 'mkdir -p $(dirname {last}); touch {last}; exit 2' TERM; touch $VENV/runs; sleep 60 & wait"


def test_when_time_is_nearly_up_the_processes_save_and_the_job_is_queued_again(stubs: Path):
    write_stub(stubs, "scancel", f"kill -TERM $(cat {stubs}/process)")
    job = started(stubs, "echo $$ > $VENV/process; " + RUNS)
    until((stubs / "runs").exists)
    job.send_signal(signal.SIGUSR1)
    assert job.wait() == 2
    assert "scancel --signal=TERM 7" in calls(stubs)
    assert requeued(stubs)


def test_what_slurm_itself_ends_is_not_queued_again_here(stubs: Path):
    job = started(stubs, "echo $$ > $VENV/process; " + RUNS)
    until((stubs / "runs").exists)
    job.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert job.poll() is None, "it waits until the processes have saved"
    os.kill(int((stubs / "process").read_text()), signal.SIGTERM)
    assert job.wait() == 2
    assert not requeued(stubs)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not INSTALLED:
        pytest.skip("no Slurm here: apt-get install slurmctld slurmd slurm-client munge")
    with running(tmp_path_factory.mktemp("slurm")) as found:
        yield found


def submit(cluster: Cluster, cohort: Path, output: Path, *options: str) -> str:
    settings = [*TOY, "trainer.accelerator=cpu", "steps=60", "checkpoint_every=10", f"data.folder={cohort}"]
    node = ["--ntasks-per-node=2", "--gpus-per-node=0", "--cpus-per-task=1", "--time=1:00:00"]
    return cluster.call(
        *("sbatch", "--parsable", *node, f"--output={output}_%a.log", *options, str(SCRIPT), *settings),
        f"output={output}",
        folder=ROOT,
        VENV=ENVIRONMENT,
        PYTHONPATH=str(ROOT),
        OMP_NUM_THREADS="1",
        # Straight from the processes: without control groups a signal reaches their srun, too, and what it has yet to
        # hand on is lost.
        SLURM_STDOUTMODE=f"{output}_processes.log",
        SLURM_OPEN_MODE="append",
    )


@pytest.fixture(scope="module")
def whole(cluster: Cluster, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights of an array's second seed, which nobody interrupted."""
    output = tmp_path_factory.mktemp("whole") / "run"
    job = submit(cluster, small_cohort, output, "--array=0-1")
    for seed in range(2):
        state = cluster.finished(f"{job}_{seed}")["JobState"]
        assert state == "COMPLETED", Path(f"{output}_processes.log").read_text()
    seeds = [load_file(output / f"seed_{seed}" / "encoder" / "model.safetensors") for seed in range(2)]
    assert not torch.equal(seeds[0]["fusion.patient"], seeds[1]["fusion.patient"])
    return seeds[1]


def requeue(cluster: Cluster, job: str) -> None:
    cluster.call("scontrol", "requeue", job)


def outrank(cluster: Cluster, job: str) -> None:
    """A job that goes before: Slurm tells the processes of the other one, and gives them time."""
    cluster.call("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def run_out_of_time(cluster: Cluster, job: str) -> None:
    """What `--signal=B:USR1@300` does five minutes before the end."""
    cluster.call("scancel", "--batch", "--signal=USR1", job)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("interrupt", [requeue, outrank, run_out_of_time])
def test_an_interrupted_job_goes_on_where_it_stopped_to_the_same_weights(
    cluster: Cluster, small_cohort: Path, whole: dict, tmp_path: Path, interrupt: Callable[[Cluster, str], None]
):
    output = tmp_path / "run"
    name = submit(cluster, small_cohort, output, "--array=1") + "_1"
    until((output / "seed_1" / "checkpoints" / "last.ckpt").exists)
    interrupt(cluster, name)
    job, log = cluster.finished(name), Path(f"{output}_1.log").read_text()
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1"), log
    stopped = re.search(r"stopped by SIGTERM after step (\d+)", Path(f"{output}_processes.log").read_text())
    assert stopped is not None and 10 <= int(stopped[1]) < 60
    assert "start 1, on " in log and "resume=true" in log
    again = load_file(output / "seed_1" / "encoder" / "model.safetensors")
    torch.testing.assert_close(again, whole, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(1800)
def test_a_cancelled_job_is_not_queued_again(cluster: Cluster, small_cohort: Path, tmp_path: Path):
    name = submit(cluster, small_cohort, tmp_path / "run", "--array=1") + "_1"
    until((tmp_path / "run" / "seed_1" / "checkpoints" / "last.ckpt").exists)
    cluster.call("scancel", name)
    until(lambda: not cluster.call("squeue", "--noheader"))
    assert cluster.job(name)["JobState"] == "CANCELLED"
