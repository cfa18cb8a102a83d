"""Towers that two real processes train together, each with half of six patients, as one with all of them would."""

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.objectives.base import Objective, Term
from foundation.output import EncoderOutput

WIDTH = 8
NAMES = ["pathology", "genomics", "record"]
# Which of six patients has what: the second process has no genomics, the first no record.
PRESENT = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 1], [1, 0, 1]], dtype=torch.bool)


class Towers(MultimodalEncoder):
    """The part of an encoder that an alignment asks for."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.modalities = torch.nn.ModuleDict({name: torch.nn.Linear(WIDTH, WIDTH) for name in NAMES})
        self.fusion = torch.nn.Linear(WIDTH, WIDTH)

    def look(self, values: torch.Tensor, present: torch.Tensor, together: bool) -> tuple[EncoderOutput, Batch]:
        embeddings, zero_loss = {}, torch.zeros(1)
        for index, name in enumerate(NAMES):
            who = present[:, index]
            if who.any():
                embeddings[name] = torch.nn.functional.normalize(self.modalities[name](values[who, index]), dim=-1)
            zero_loss = zero_loss + 0 * self.modalities[name](values[:1, index]).sum()
        batch = Batch(
            [str(row) for row in range(len(values))],
            {name: present[:, index] for index, name in enumerate(NAMES)},
            {name: {} for name in embeddings},
        )
        fused = self.fusion(values.mean(dim=1))
        return EncoderOutput(fused, embeddings, {}, {}, zero_loss if together else None), batch


Made = tuple[Towers, Objective, torch.Tensor]


def made(kind: type) -> Made:
    torch.manual_seed(0)
    return Towers(), kind(WIDTH), torch.randn(6, 3, WIDTH)


def learn_on_two(
    make: Callable[[], Made], present: torch.Tensor
) -> dict[int, tuple[float, list[torch.Tensor], dict[str, int]] | None]:
    """By rank: its share of the loss, the gradients averaged over both processes, and its samples.

    None where the objective has nothing to learn from on any process.
    """
    multiprocessing.set_forkserver_preload([__name__])  # imported once for all pairs
    with mp.Manager() as manager, tempfile.TemporaryDirectory() as folder:
        results = manager.dict()
        given = (Path(folder) / "meeting", make, present, results)
        mp.start_processes(_one_of_two, given, nprocs=2, start_method="forkserver")
        return dict(results)


def _one_of_two(rank: int, meeting: Path, make: Callable[[], Made], present: torch.Tensor, results: dict) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    towers, objective, values = make()
    half = slice(0, 3) if rank == 0 else slice(3, 6)
    output, batch = towers.look(values[half], present[half], together=True)
    term: Term | None = objective(towers, output, batch)
    results[rank] = None
    if term is not None:
        loss = term.share * term.loss
        (loss + output.zero_loss.sum()).backward()
        gradients = []
        for parameter in [*towers.parameters(), *objective.parameters()]:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            dist.all_reduce(gradient)
            gradients.append((gradient / 2).numpy())
        results[rank] = (loss.item(), gradients, term.samples)
    dist.destroy_process_group()
