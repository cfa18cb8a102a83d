"""Two real processes compare their patients as one process with all of them would."""

import copy
from functools import partial

import pytest
import torch

from foundation.objectives.alignment import Alignment
from foundation.objectives.siglip import SigLip
from tests.foundation.two_processes import PRESENT, learn_on_two, made


@pytest.mark.process
@pytest.mark.parametrize("kind", [Alignment, SigLip])
def test_two_processes_learn_what_one_with_all_patients_would(kind):
    halves = learn_on_two(partial(made, kind), PRESENT)
    towers, objective, values = made(kind)
    output, batch = towers.look(values, PRESENT, together=False)
    term = objective(towers, output, batch)
    term.loss.backward()
    assert (halves[0][0] + halves[1][0]) / 2 == pytest.approx(term.loss.item(), abs=1e-6)
    expected = [parameter.grad for parameter in [*towers.parameters(), *objective.parameters()]]
    for rank in (0, 1):
        for gradient, whole in zip(halves[rank][1], expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(gradient), whole, atol=1e-6, rtol=1e-5)
    counts = {name: sum(halves[rank][2].get(name, 0) for rank in (0, 1)) for name in term.samples}
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
