"""Training batches, prepared while the step computes, in an order that a killed run goes on with."""

import copy
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from foundation.batch import Batch
from foundation.data.sampler import Draw, PatientSampler
from foundation.errors import UserError


class PatientLoader(DataLoader[Any]):
    """Training batches, prepared ahead of the step over the ends of epochs, and taken up again after a kill.

    Lightning keeps the position in its checkpoints.

    Args:
        dataset: patients.
        sampler: whose turn it is.
        collate: makes the batches.
        num_workers: processes that prepare batches; with none, a thread of this process prepares the next one.
        prefetch_factor: batches that each process prepares ahead.
        pin_memory: page-locked, for faster copies to a GPU.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: PatientSampler,
        collate: Callable[[list[Any]], Batch],
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            _Batches(dataset, collate),
            batch_sampler=_Epochs(sampler),
            collate_fn=_as_it_is,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_outlive_a_signal if num_workers else None,
            generator=torch.Generator(),  # the global one is the model's
        )
        self.turns = sampler
        self._stream: Iterator[Batch | UserError] | None = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """The batches left in the epoch; those of the next one if none is.

        Raises:
            UserError: if a patient's data cannot be read.
        """
        self.turns.begin()
        stopped = self.num_workers > 0 and self._iterator is None  # by Lightning, at the end of its run
        if self._stream is None or stopped:
            with _signal_held():
                self._stream = super().__iter__()
            if not self.num_workers:
                self._stream = _one_ahead(self._stream)
        for _ in range(self.turns.left):
            batch = next(self._stream)
            if isinstance(batch, UserError):
                self._stream = self._iterator = None  # its workers end now, not when somebody lets go of the error
                raise batch
            self.turns.advance()  # only what was handed out counts, not what lies prepared
            yield batch

    def state_dict(self) -> dict[str, int]:
        return self.turns.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.turns.load_state_dict(state)
        self._stream = None


class _Batches(Dataset[Any]):
    """Whole batches; bad data are handed on as a value: a loader would bury their one line in a worker's traceback."""

    def __init__(self, dataset: Dataset[Any], collate: Callable[[list[Any]], Batch]) -> None:
        self.dataset = dataset
        self.collate = collate

    def __getitems__(self, draws: list[Draw]) -> Batch | UserError:
        try:
            return self.collate([self.dataset[draw] for draw in draws])
        except UserError as error:
            return error


class _Epochs(Sampler[list[Draw]]):
    """A sampler's batches from its position on, epoch after epoch without end."""

    def __init__(self, turns: PatientSampler) -> None:
        self.turns = turns
        self.batch_size = turns.batch_size  # DeepSpeed asks for it

    def __len__(self) -> int:
        return len(self.turns)

    def __iter__(self) -> Iterator[list[Draw]]:
        ahead = copy.copy(self.turns)
        while True:
            yield from ahead
            ahead.load_state_dict({"epoch": ahead.epoch + 1, "taken": 0})


def _outlive_a_signal(worker: int) -> None:
    """Lets a first SIGTERM pass: one to all of a run's processes must not take its batches before it has saved."""

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # PyTorch ends a worker that hangs with another one

    signal.signal(signal.SIGTERM, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


@contextmanager
def _signal_held() -> Iterator[None]:
    """SIGTERM waits until workers that start meanwhile, and inherit that, can let it pass."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_it_is(batch: Any) -> Any:
    return batch


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """Endless batches, the next one prepared by a thread while the present one is used."""
    # A second team of threads for its operators would fight with that of the step for the same cores.
    thread = ThreadPoolExecutor(1, "batches", torch.set_num_threads, (1,))
    try:
        coming = thread.submit(next, batches)
        while True:
            batch = coming.result()
            coming = thread.submit(next, batches)
            yield batch
    finally:  # not waited for: a stream that nobody holds may be collected on this very thread
        thread.shutdown(wait=False, cancel_futures=True)
