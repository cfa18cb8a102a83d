"""Objectives that know nothing of other processes, on two real ones."""

from functools import partial

import pytest
import torch

from foundation.objectives.base import Objective, Term
from tests.foundation.two_processes import PRESENT, learn_on_two, made


class Naive(Objective):
    """Reads a modality's embeddings, as somebody writes it who thinks of one batch alone."""

    source = "genomics"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.Linear(width, 1))

    def select(self, encoder, output, batch):
        return output.embeddings.get(self.source)

    def loss(self, encoder, output, batch, selected):
        # Through the encoder's weights once more, as masked modelling goes.
        again = encoder.modalities[self.source](selected)
        return Term(self.read(again).square().mean(), {self.source: len(selected)}, len(selected))


@pytest.mark.process
def test_lockstep_of_a_process_with_nothing_gives_the_gradient_of_the_whole():
    halves = learn_on_two(partial(made, Naive), PRESENT)
    towers, objective, values = made(Naive)
    output, batch = towers.look(values, PRESENT, together=False)
    term = objective(towers, output, batch)
    term.loss.backward()
    assert halves[1][0] == 0 and halves[1][2] == {}, "the second process has no genomics"
    assert halves[0][0] / 2 == pytest.approx(term.loss.item(), abs=1e-6)
    assert halves[0][2] == term.samples == {"genomics": 2}
    for gradients in (halves[0][1], halves[1][1]):
        for gradient, parameter in zip(gradients, [*towers.parameters(), *objective.parameters()], strict=True):
            whole = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(torch.from_numpy(gradient), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.process
def test_lockstep_weighs_processes_by_what_they_have():
    present = PRESENT.clone()
    present[:, 1] = torch.tensor([1, 1, 0, 0, 1, 0])
    halves = learn_on_two(partial(made, Naive), present)
    towers, objective, values = made(Naive)
    term = objective(towers, *towers.look(values, present, together=False))
    assert (halves[0][0] + halves[1][0]) / 2 == pytest.approx(term.loss.item(), abs=1e-6)


@pytest.mark.process
def test_lockstep_where_nobody_has_anything_is_silence_on_all():
    present = PRESENT.clone()
    present[:, 1] = False
    assert learn_on_two(partial(made, Naive), present) == {0: None, 1: None}


def test_a_batch_with_nothing_is_silence_on_one_process():
    towers, objective, values = made(Naive)
    assert objective(towers, *towers.look(values[3:], PRESENT[3:], together=False)) is None
