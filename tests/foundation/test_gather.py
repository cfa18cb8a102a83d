"""Two real processes compare their patients as one process with all of them would."""

import copy
import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from foundation.batch import Batch
from foundation.encoder import MultimodalEncoder
from foundation.objectives.alignment import Alignment
from foundation.objectives.siglip import SigLip
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
        embeddings, tie = {}, torch.zeros(1)
        for index, name in enumerate(NAMES):
            who = present[:, index]
            if who.any():
                embeddings[name] = torch.nn.functional.normalize(self.modalities[name](values[who, index]), dim=-1)
            tie = tie + 0 * self.modalities[name](values[:1, index]).sum()
        batch = Batch(
            [str(row) for row in range(len(values))],
            {name: present[:, index] for index, name in enumerate(NAMES)},
            {name: {} for name in embeddings},
        )
        fused = self.fusion(values.mean(dim=1))
        return EncoderOutput(fused, embeddings, {}, {}, tie if together else None), batch


def made(kind: type) -> tuple[Towers, Alignment, torch.Tensor]:
    torch.manual_seed(0)
    return Towers(), kind(WIDTH), torch.randn(6, 3, WIDTH)


def one_of_two(rank: int, port: int, kind: type, results: dict) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    towers, objective, values = made(kind)
    own = slice(0, 3) if rank == 0 else slice(3, 6)
    output, batch = towers.look(values[own], PRESENT[own], together=True)
    term = objective(towers, output, batch)
    (term.loss + output.tie.sum()).backward()
    gradients = []
    for parameter in [*towers.parameters(), *objective.parameters()]:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        dist.all_reduce(gradient)
        gradients.append((gradient / 2).numpy())
    results[rank] = (term.loss.item(), gradients, term.samples)
    dist.destroy_process_group()


@pytest.mark.process
@pytest.mark.parametrize("kind", [Alignment, SigLip])
def test_two_processes_learn_what_one_with_all_patients_would(kind):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(one_of_two, (port, kind, results), nprocs=2)
        found = dict(results)
    towers, objective, values = made(kind)
    output, batch = towers.look(values, PRESENT, together=False)
    term = objective(towers, output, batch)
    term.loss.backward()
    assert (found[0][0] + found[1][0]) / 2 == pytest.approx(term.loss.item(), abs=1e-6)
    expected = [parameter.grad for parameter in [*towers.parameters(), *objective.parameters()]]
    for rank in (0, 1):
        for gradient, whole in zip(found[rank][1], expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(gradient), whole, atol=1e-6, rtol=1e-5)
    counts = {name: sum(found[rank][2].get(name, 0) for rank in (0, 1)) for name in term.samples}
    assert counts == term.samples


@pytest.mark.parametrize("kind", [Alignment, SigLip])
def test_rows_taken_a_few_at_a_time_give_the_same_gradient(kind):
    towers, objective, values = made(kind)
    few = copy.deepcopy(objective)
    few.rows_at_once = 2
    gradients = []
    for one in (objective, few):
        towers.zero_grad()
        output, batch = towers.look(values, PRESENT, together=False)
        term = one(towers, output, batch)
        term.loss.backward()
        gradients.append([term.loss.detach(), *(p.grad for p in [*towers.parameters(), *one.parameters()])])
    for whole, part in zip(*gradients, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)
