"""Jobs in parallel processes, each to a folder of its own; a library that crashes costs its job alone."""

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

from foundation.data.problems import Problem
from foundation.errors import UserError
from foundation.files import unfinished

Job = TypeVar("Job")


def run_each(
    jobs: Mapping[Path, Job],
    do: Callable[[Path, Job], list[Problem]],
    crash: Callable[[Job], Problem],
    workers: int,
    start: Callable[[int], None] | None = None,
) -> Iterator[tuple[Path, list[Problem]]]:
    """Every job's problems, by folder, also where a library crashes on a damaged file and takes its process along.

    Args:
        jobs: by the folder that each writes; `foundation.files.unfinished` of it is there once a job has begun.
        do: a job, in a process; it can be pickled.
        crash: the problem of a job whose process ended twice.
        workers: processes.
        start: called in each process with its number, before its first job.

    Raises:
        UserError: if processes die before they have begun with a job.
    """
    left = dict(jobs)
    while left:
        before = len(left)
        for folder, problems in _run(left, do, workers, start):
            yield folder, problems
            del left[folder]
        for folder in [folder for folder in left if unfinished(folder).is_dir()]:  # begun when a process died
            job = left.pop(folder)
            yield folder, dict(_run({folder: job}, do, 1, start)).get(folder, [crash(job)])
            shutil.rmtree(unfinished(folder), ignore_errors=True)
        if len(left) == before:
            raise UserError("workers: processes die before they begin; lower workers, or free some memory")


def _run(
    jobs: Mapping[Path, Job],
    do: Callable[[Path, Job], list[Problem]],
    workers: int,
    start: Callable[[int], None] | None,
) -> Iterator[tuple[Path, list[Problem]]]:
    """The problems of those jobs that did not go down with a process."""
    # Fresh processes: a copy of one that has threads (torch, the progress bar) can hang.
    context = multiprocessing.get_context("spawn")
    workers = max(min(workers, len(jobs)), 1)
    number = context.Value("i", 0)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(number, start)) as pool:
        futures = {pool.submit(do, folder, job): folder for folder, job in jobs.items()}
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                yield futures[future], future.result()


def _begin(number: Any, start: Callable[[int], None] | None) -> None:
    """A killed parent's workers would otherwise wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
    if start is not None:
        with number.get_lock():
            mine, number.value = number.value, number.value + 1
        start(mine)
