"""The launcher of a job of several processes: it ends well, or with one line and nobody left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from foundation.errors import UserError
from foundation.polling import wait_until
from foundation.ports import LOOPBACK, free_ports

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 3.0  # for the others to say what they saw, once one has failed
_TELLING = re.compile(r"^(?:\[rank\d+\]:\s*)?([\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)$")
_LOST_PEER = re.compile(r"closed by peer|reset by peer|broken pipe|gloo|nccl|DistBackend|store", re.IGNORECASE)


def processes_of(trainer: DictConfig) -> int:
    """How many processes a trainer's config wants on this machine; 0 where this one can train by itself.

    Raises:
        UserError: if it wants several machines.
    """
    nodes = OmegaConf.select(trainer, "num_nodes", default=1)
    if nodes != 1:
        raise UserError(f"trainer.num_nodes: found {nodes}; a site's round runs on one machine, so set it to 1")
    devices = OmegaConf.select(trainer, "devices", default="auto")
    strategy = OmegaConf.select(trainer, "strategy", default="auto")
    count = _count(devices, on_cpu=OmegaConf.select(trainer, "accelerator", default="auto") == "cpu")
    # A strategy of its own may leave process groups and environment behind, so it gets a process of its own.
    return 0 if count == 1 and strategy in (None, "auto") else count


def _count(devices: Any, on_cpu: bool) -> int:
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1, None):
        import torch  # here, for a job's processes have no time to lose on it

        return 1 if on_cpu else max(1, torch.cuda.device_count())
    if isinstance(devices, list | ListConfig):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if isinstance(devices, int) and devices > 0:
        return devices
    raise UserError(f"trainer.devices: found {devices!r}; give a number, a list, or auto")


def launch(module: str, folder: Path, processes: int, seconds: float | None = None) -> None:
    """Runs `python -m module folder` in several processes that find one another as under torchrun.

    Each leads a process group of its own, which is killed when one fails, time is up, or this process stops waiting;
    if this process is killed, they notice and end themselves (see `end_with_parent`).

    Args:
        module: of the processes.
        folder: their only argument. What they print goes to `rank_<n>.log` in it; a `UserError` they write themselves
            to `rank_<n>.error`.
        processes: how many.
        seconds: to allow; None waits for ever.

    Raises:
        UserError: with the telling line of the process that failed, or that time was up.
    """
    (port,) = free_ports(1)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            with (folder / f"rank_{rank}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-m", module, str(folder)],
                        env=_environment(rank, processes, port),
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        if not wait_until(lambda: _all_ended(started) or _one_failed(started), _POLL_SECONDS, seconds):
            raise UserError(f"round: not done after {seconds:g} s, so it was stopped; allow more time or fewer steps")
        wait_until(lambda: _all_ended(started), _POLL_SECONDS, _GRACE_SECONDS)
    finally:
        codes = [process.poll() for process in started]  # before they are killed
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    if any(code != 0 for code in codes):
        raise UserError(f"round: {_cause(folder, codes)}")


def end_with_parent() -> None:
    """Ends this process and its children when the one that launched it is gone: its end of the pipe closes with it."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():  # else somebody else's group would be killed
        threading.Thread(target=watch, daemon=True).start()


def _all_ended(started: Sequence[subprocess.Popen[bytes]]) -> bool:
    return all(process.poll() is not None for process in started)


def _one_failed(started: Sequence[subprocess.Popen[bytes]]) -> bool:
    return any(process.poll() for process in started)


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """As torchrun sets it. What says that Slurm or torchrun started *this* process must not reach the new ones."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC_", "PL_"))
    }
    kept.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    return kept | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "NODE_RANK": "0",
        "GROUP_RANK": "0",
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
    }


def _cause(folder: Path, codes: Sequence[int | None]) -> str:
    """The line that tells most: bad input first, then a kill, then a defect; a lost peer is only an echo of those."""
    for rank in range(len(codes)):
        path = folder / f"rank_{rank}.error"
        if path.is_file():
            return path.read_text()
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            return f"process {rank} was killed by {signal.Signals(-code).name}; look for want of memory on this machine"
    lines = [_last_line(folder / f"rank_{rank}.log") for rank, code in enumerate(codes) if code]
    causes = [line for line in lines if not _LOST_PEER.search(line)]
    return (causes or lines)[0]


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace")[-20_000:].splitlines() if line.strip()]
    telling = [match.group(1) for line in lines if (match := _TELLING.match(line))]
    return (telling or lines or ["a process ended without a word"])[-1][:300]
