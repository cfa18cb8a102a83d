"""The order in which patients are shown: it follows from seed and epoch alone, and dealt out to several processes."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """A patient's turn: position in the data set, and the epoch, from which augmentation and corruption follow."""

    patient: int
    epoch: int


class PatientSampler(Sampler[list[Draw]]):
    """Batches of patients for one of several processes, from any position in an epoch.

    Each epoch has one order of all patients, a function of seed and epoch. Process r of n takes patients r, r + n,
    r + 2n, ... of it: after any step the processes together have taken a beginning of the order, without overlap or
    gap, and from there the epoch goes on just as well with another number of processes. All processes take equally
    many steps. With `drop_last`, patients at the end of the order that do not fill a batch for every process wait for
    another epoch. Without it everybody is taken, and where the number of patients is no multiple of `ranks`, the order
    begins anew to fill the last round: at most `ranks` - 1 patients are taken a second time.

    Args:
        count: of patients.
        batch_size: patients a step and process.
        seed: of the order.
        rank: which process this is.
        ranks: how many there are.
        shuffle: False keeps the patients' own order in every epoch.
        drop_last: see above.

    Attributes:
        epoch: the present one.
        taken: patients of it that all processes together have been given.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if not 0 <= rank < ranks or batch_size < 1:
            raise ValueError(f"rank {rank} of {ranks}, batches of {batch_size}")
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0
        self.taken = 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return self._steps(self.count)

    def __iter__(self) -> Iterator[list[Draw]]:
        """The batches left in the epoch; it goes on from where `advance` or `load_state_dict` last put it."""
        epoch, order = self.epoch, self._order()
        left = order[self.taken :]
        each = self._steps(len(left)) * self.batch_size if self.drop_last else -(-len(left) // self.ranks)
        of_rank = np.resize(np.concatenate([left, order]), each * self.ranks)[self.rank :: self.ranks]
        for start in range(0, each, self.batch_size):
            yield [Draw(int(patient), epoch) for patient in of_rank[start : start + self.batch_size]]

    @property
    def left(self) -> int:
        """Steps left in the epoch."""
        return self._steps(self.count - self.taken)

    def advance(self) -> None:
        """Notes that every process has been given one more batch."""
        self.taken = min(self.taken + self.batch_size * self.ranks, self.count)

    def begin(self) -> None:
        """Goes on to the next epoch where no batch is left in this one."""
        if self.taken and not self.left:
            self.epoch, self.taken = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """The position, the same on every process."""
        return {"epoch": self.epoch, "taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on from a position; the number of processes and the size of batches may be others."""
        self.epoch, self.taken = state["epoch"], state["taken"]

    def _steps(self, left: int) -> int:
        together = self.batch_size * self.ranks
        return left // together if self.drop_last else -(-left // together)

    def _order(self) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(self.count)
        generator = generator_of(self.seed, "order", self.epoch)
        order: NDArray[np.int64] = torch.randperm(self.count, generator=generator).numpy()
        return order


def generator_of(*parts: int | str) -> torch.Generator:
    """Random numbers that depend on all of `parts` and on nothing else."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def draw_images(count: int, most: int, generator: torch.Generator | None) -> NDArray[np.int64]:
    """Which of a patient's `count` images are looked at, at most `most`: random in training, else spread evenly.

    Args:
        count: of images that the patient has.
        most: to draw.
        generator: given in training.
    """
    kept = min(count, most)
    if generator is None:
        return np.linspace(0, count - 1, kept).round().astype(np.int64)
    drawn: NDArray[np.int64] = torch.randperm(count, generator=generator)[:kept].numpy()
    return drawn
