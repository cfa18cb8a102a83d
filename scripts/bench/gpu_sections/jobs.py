"""Jobs: each measured in processes of its own, within the time that the whole benchmark has."""

import json
import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Jobs:
    """Runs functions in fresh processes, and turns what goes wrong in them into a reason.

    Args:
        folder: for logs and results.
        seconds: that all jobs together have.
        toy: fork from this process, whose imports are done, instead of paying for them in every process. Never on a
            GPU: a forked process cannot use CUDA if anything before has looked at it.

    Attributes:
        failures: reasons of jobs that broke, by name.
    """

    def __init__(self, folder: Path, seconds: float, toy: bool) -> None:
        self.folder = folder
        self.ends = time.monotonic() + seconds
        self.failures: dict[str, str] = {}
        self._processes = multiprocessing.get_context("fork" if toy else "spawn")
        self._seconds = seconds

    def run(self, name: str, work: Callable[..., list[Row]], *arguments: Any, ranks: int = 1) -> list[Row]:
        """The rows that a function returns in its first process; or one that says why there are none.

        Args:
            name: of the job.
            work: importable by name; runs in every process.
            arguments: of `work`; can be pickled.
            ranks: processes, which find one another as torchrun's do.
        """
        started = time.monotonic()
        if self.ends - started < 5:
            return [{"name": name, "left_out": f"the {self._seconds:.0f} s of the whole were over"}]
        log, result = self.folder / f"{name}.log", self.folder / f"{name}.json"
        port = _free_port()
        processes = [
            self._processes.Process(
                target=_in_process, args=(work, arguments, _environment(rank, ranks, port), log, result)
            )
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        reason = self._wait(processes)
        print(f"{time.monotonic() - started:7.1f} s  {name}{': ' + reason if reason else ''}", flush=True)
        if reason is None and result.is_file():
            rows: list[Row] = json.loads(result.read_text())
            return rows
        reason = reason or "ended without a result"
        if reason == "broke":
            reason = self.failures[name] = _last_line(log)
        return [{"name": name, "left_out": reason}]

    def _wait(self, processes: list[Any]) -> str | None:
        """Until all have ended; one that breaks, or time that is over, ends the others."""
        running, reason = list(processes), None
        while running and reason is None:
            wait([process.sentinel for process in running], timeout=max(0.0, self.ends - time.monotonic()))
            if any(process.exitcode not in (0, None) for process in processes):
                reason = "broke"
            elif time.monotonic() >= self.ends:
                reason = f"the {self._seconds:.0f} s of the whole were over"
            running = [process for process in running if process.is_alive()]
        for process in running:
            process.kill()
        for process in processes:
            process.join()
        return reason if running or reason == "broke" else None


def _in_process(
    work: Callable[..., list[Row]], arguments: tuple[Any, ...], environment: dict[str, str], log: Path, result: Path
) -> None:
    os.environ.update(environment)
    with log.open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        rows = work(*arguments)
    except Exception:  # noqa: BLE001  # the log is where the reason is read
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    if environment.get("RANK", "0") == "0":
        result.write_text(json.dumps(rows))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # workers of data loaders and of process groups may hang at an orderly end


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    if ranks == 1:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "ended without a word"
