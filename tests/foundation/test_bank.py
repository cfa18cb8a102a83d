"""Patients of other hospitals as negatives: further columns of the comparison, and nothing where there are none."""

import copy
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from foundation.errors import UserError
from foundation.objectives.alignment import Alignment, info_nce_rows
from foundation.objectives.bank import Negatives
from foundation.objectives.siglip import SigLip, sigmoid_rows
from tests.foundation.two_processes import NAMES, PRESENT, WIDTH, Made, Towers, learn_on_two, made

KINDS = pytest.mark.parametrize("kind", [Alignment, SigLip])


def unit(rows: int, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, width, generator=generator), dim=-1)


def bank() -> dict[str, torch.Tensor]:
    return {"pathology": unit(5, seed=1), "genomics": unit(7, seed=2)}


def learnt(towers: Towers, objective: Alignment, values: torch.Tensor, present: torch.Tensor = PRESENT):
    towers.zero_grad()
    objective.zero_grad()
    output, batch = towers.look(values, present, together=False)
    term = objective(towers, output, batch)
    term.loss.backward()
    return term, [parameter.grad for parameter in [*towers.parameters(), *objective.parameters()]]


@KINDS
@pytest.mark.parametrize("empty", [None, {}, {"genomics": torch.zeros(0, WIDTH)}])
def test_an_empty_bank_changes_no_bit(kind, empty):
    towers, objective, values = made(kind)
    plain, expected = learnt(towers, objective, values)
    objective.set_bank(bank())
    objective.set_bank(empty)
    term, found = learnt(towers, objective, values)
    assert torch.equal(term.loss, plain.loss) and term.samples == plain.samples
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_without_a_bank_the_losses_are_the_formulas_that_they_were():
    left, right, rows, scale = unit(6, seed=3), unit(6, seed=4), torch.tensor([4, 0, 5]), torch.tensor([9.0])
    there = functional.cross_entropy(scale * left[rows] @ right.T, rows, reduction="none")
    back = functional.cross_entropy(scale * right[rows] @ left.T, rows, reduction="none")
    assert torch.equal(info_nce_rows(left, right, rows, scale), (there + back) / 2)
    logits = scale * left[rows] @ right.T - 3.0
    partner = torch.full_like(logits, -1).scatter(1, rows[:, None], 1)
    expected = -functional.logsigmoid(partner * logits).sum(dim=1)
    assert torch.equal(sigmoid_rows(left, right, rows, scale, torch.tensor([-3.0])), expected)


def test_negatives_are_further_columns_of_the_softmax():
    left, right = unit(4, seed=3), unit(4, seed=4)
    one, other = unit(3, seed=5), unit(2, seed=6)
    found = info_nce_rows(left, right, torch.arange(4), torch.tensor([5.0]), Negatives(one, other))
    for i in range(4):
        there = [float(5 * left[i] @ row) for row in [*right, *other]]
        back = [float(5 * right[i] @ row) for row in [*left, *one]]
        own = float(5 * left[i] @ right[i])
        expected = sum(math.log(sum(map(math.exp, logits))) - own for logits in (there, back)) / 2
        assert found[i].item() == pytest.approx(expected, abs=1e-5)


def test_negatives_are_further_pairs_of_the_sigmoid():
    left, right = unit(4, seed=3), unit(4, seed=4)
    one, other = unit(3, seed=5), unit(2, seed=6)
    scale, bias = torch.tensor([5.0]), torch.tensor([-1.0])
    found = sigmoid_rows(left, right, torch.arange(4), scale, bias, Negatives(one, other))
    for i in range(4):
        pairs = [(left[i], right[j], 1 if i == j else -1) for j in range(4)]
        pairs += [(left[i], row, -1) for row in other] + [(row, right[i], -1) for row in one]
        expected = sum(math.log(1 + math.exp(-sign * float(5 * a @ b - 1))) for a, b, sign in pairs)
        assert found[i].item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**16), st.sampled_from([Alignment, SigLip]))
def test_more_negatives_never_make_it_easier_and_their_order_does_not_matter(few, more, seed, kind):
    left, right = unit(5, seed=seed), unit(5, seed=seed + 1)
    objective = kind(WIDTH)
    one, other = unit(few + more, seed=seed + 2), unit(few + more, seed=seed + 3)
    smaller = objective.compare(left, right, negatives=Negatives(one[:few], other[:few]))
    larger = objective.compare(left, right, negatives=Negatives(one, other))
    assert larger >= smaller - 1e-6
    turned = objective.compare(left, right, negatives=Negatives(one.flip(0), other.flip(0)))
    torch.testing.assert_close(turned, larger, atol=1e-5, rtol=1e-5)


@KINDS
def test_rows_taken_a_few_at_a_time_meet_the_same_negatives(kind):
    towers, objective, values = made(kind)
    objective.set_bank(bank())
    few = copy.deepcopy(objective)
    few.rows_at_once = 2
    whole, expected = learnt(towers, objective, values)
    expected = [gradient.clone() for gradient in expected]
    parts, found = learnt(towers, few, values)
    torch.testing.assert_close(parts.loss, whole.loss)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@KINDS
def test_a_bank_is_constant_and_no_part_of_the_model(kind):
    towers, objective, values = made(kind)
    names = list(objective.state_dict()), [name for name, _ in objective.named_buffers()]
    plain, _ = learnt(towers, objective, values)
    given_bank = {name: rows.requires_grad_() for name, rows in bank().items()}
    objective.set_bank(given_bank)
    term, _ = learnt(towers, objective, values)
    assert term.loss > plain.loss and term.samples == plain.samples
    assert all(rows.grad is None for rows in given_bank.values())
    assert (list(objective.state_dict()), [name for name, _ in objective.named_buffers()]) == names


@KINDS
def test_negatives_are_compared_in_float32_whatever_the_precision_of_the_encoder(kind):
    negatives = Negatives(unit(3, seed=5), unit(2, seed=6))
    found = kind(WIDTH).bfloat16().compare(unit(4).bfloat16(), unit(4, seed=1).bfloat16(), negatives=negatives)
    assert found.dtype == torch.float32 and found.isfinite()


@KINDS
def test_validation_compares_without_negatives(kind):
    towers, objective, values = made(kind)
    plain, _ = learnt(towers, objective, values)
    objective.set_bank(bank())
    term, _ = learnt(towers, objective.eval(), values)
    assert torch.equal(term.loss, plain.loss)


@KINDS
def test_a_lone_patient_learns_from_negatives(kind):
    towers, objective, values = made(kind)
    output, batch = towers.look(values[:1], PRESENT[:1], together=False)
    assert objective(towers, output, batch) is None
    objective.set_bank({"genomics": unit(3)})
    term = objective(towers, output, batch)
    assert term is not None and term.samples == {"pathology": 1, "genomics": 1, "fusion": 1}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (torch.zeros(3, WIDTH + 1), r"bank.genomics: shape \(3, 9\); give \[rows, 8\]"),
        (torch.full((3, WIDTH), math.nan), "bank.genomics: holds values that are no numbers"),
        (torch.ones(3, WIDTH), "bank.genomics: longer than 1"),
    ],
)
def test_a_bank_that_cannot_stand_beside_embeddings_is_refused(rows, said):
    with pytest.raises(UserError, match=said):
        Alignment(WIDTH).set_bank({"genomics": rows})


def test_a_bank_of_an_unknown_modality_is_refused():
    towers, objective, values = made(Alignment)
    objective.set_bank({"radiology": unit(3)})
    with pytest.raises(UserError, match="bank.radiology: no modality of this run; there are genomics, pathology, rec"):
        learnt(towers, objective, values)


# Beside the six patients of `PRESENT`: one process without any pair of its own, and a pair that is alone.
LONELY = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.bool)


def made_with_bank(kind: type) -> Made:
    towers, objective, values = made(kind)
    objective.set_bank(bank())
    return towers, objective, values


@pytest.mark.process
@pytest.mark.parametrize(("kind", "present"), [(Alignment, PRESENT), (SigLip, PRESENT), (Alignment, LONELY)])
def test_two_processes_with_a_bank_learn_what_one_with_all_patients_would(kind, present):
    halves = learn_on_two(partial(made_with_bank, kind), present)
    towers, objective, values = made_with_bank(kind)
    term, expected = learnt(towers, objective, values, present)
    assert (halves[0][0] + halves[1][0]) / 2 == pytest.approx(term.loss.item(), abs=1e-6)
    for rank in (0, 1):
        for gradient, whole in zip(halves[rank][1], expected, strict=True):
            whole = torch.zeros_like(torch.from_numpy(gradient)) if whole is None else whole
            torch.testing.assert_close(torch.from_numpy(gradient), whole, atol=1e-6, rtol=1e-5)
    counts = {name: sum(halves[rank][2].get(name, 0) for rank in (0, 1)) for name in term.samples}
    assert counts == term.samples and set(counts) <= {*NAMES, "fusion"}
