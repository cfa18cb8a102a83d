import math

import pytest
import torch

from foundation.objectives.alignment import Alignment, info_nce
from foundation.objectives.consistency import Consistency
from foundation.objectives.expression_from_images import ExpressionFromImages
from foundation.objectives.masked_genes import MaskedGenes
from foundation.objectives.siglip import SigLip, sigmoid_rows
from foundation.retrieval import recall_at


def test_info_nce_of_indistinguishable_pairs_is_the_log_of_their_number():
    same = torch.nn.functional.normalize(torch.ones(8, 4), dim=-1)
    assert info_nce(same, same, torch.tensor(10.0)).item() == pytest.approx(math.log(8), abs=1e-5)


def test_alignment_counts_only_patients_with_a_pair(encoder, samples):
    batch = encoder.encode_samples(samples)
    term = Alignment(32)(encoder, encoder(batch), batch)
    assert term is not None
    # Pairs of at least two patients: pathology-genomics (1, 3) and genomics-record (2, 3).
    assert term.samples == {"pathology": 2, "genomics": 3, "record": 2, "fusion": 3}


def test_alignment_is_silent_without_pairs(encoder, samples):
    batch = encoder.encode_samples([samples[0], samples[0]])
    assert Alignment(32)(encoder, encoder(batch), batch) is None


def test_masked_genes_learns_only_where_something_is_hidden(encoder, samples):
    objective = MaskedGenes(32)
    batch = encoder.encode_samples(samples)
    assert objective(encoder, encoder(batch), batch) is None
    batch.inputs["genomics"]["masked"][0, 0] = True
    term = objective(encoder, encoder(batch), batch)
    assert term is not None and term.samples == {"genomics": 1}


def test_recall_counts_ties_against_us():
    identity = torch.eye(10)
    assert recall_at(identity, identity, 1) == (1.0, 0.1)
    constant = torch.ones(10, 3)
    assert recall_at(constant, constant, 5) == (0.0, 0.5)


def test_siglip_is_the_log_loss_of_every_pair():
    left, right = (torch.nn.functional.normalize(torch.randn(5, 4), dim=-1) for _ in range(2))
    scale, bias = torch.tensor([7.0]), torch.tensor([-2.0])
    expected = 0.0
    for i in range(5):
        for j in range(5):
            logit = float(7 * left[i] @ right[j] - 2)
            expected += math.log(1 + math.exp(-logit if i == j else logit)) / 5
    found = sigmoid_rows(left, right, torch.arange(5), scale, bias)
    assert found.mean().item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(sigmoid_rows(left, right, torch.tensor([3, 1]), scale, bias), found[[3, 1]])


def test_siglip_aligns_whom_alignment_aligns_and_learns_its_bias(encoder, samples):
    batch = encoder.encode_samples(samples)
    objective = SigLip(32)
    term = objective(encoder, encoder(batch), batch)
    expected = Alignment(32)(encoder, encoder(batch), batch)
    assert term is not None and expected is not None and term.samples == expected.samples
    term.loss.backward()
    assert objective.bias.grad is not None and objective.log_scale.grad is not None


@pytest.mark.parametrize("objective", [Alignment, SigLip])
def test_losses_are_computed_in_float32_whatever_the_precision(objective):
    torch.manual_seed(0)
    left, right = (torch.nn.functional.normalize(torch.randn(6, 32), dim=-1) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
        found = objective(32).bfloat16().compare(left.bfloat16(), right.bfloat16())
    assert found.dtype == torch.float32 and found.isfinite()


def test_expression_is_predicted_only_for_patients_with_images_and_teaches_images_alone(encoder, samples):
    batch = encoder.encode_samples(samples)
    objective = ExpressionFromImages(32)
    term = objective(encoder, encoder(batch), batch)
    assert term is not None and term.samples == {"pathology": 2}
    term.loss.backward()
    assert encoder.modalities["genomics"].gene.grad is None
    assert encoder.modalities["pathology"].to_width[1].weight.grad.abs().sum() > 0


def test_expression_of_nobody_with_images_is_silent(encoder, samples):
    batch = encoder.encode_samples([samples[0], samples[2]])
    assert ExpressionFromImages(32)(encoder, encoder(batch), batch) is None


def test_expression_from_images_can_be_learnt(encoder, samples):
    torch.manual_seed(0)
    objective = ExpressionFromImages(32)
    batch = encoder.encode_samples(samples)
    optimizer = torch.optim.Adam([*objective.parameters(), *encoder.parameters()], lr=3e-3)
    losses = []
    for _ in range(40):
        term = objective(encoder, encoder(batch), batch)
        optimizer.zero_grad()
        term.loss.backward()
        optimizer.step()
        losses.append(term.loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_consistency_drops_one_modality_of_those_who_have_several(encoder, samples):
    torch.manual_seed(0)
    batch = encoder.encode_samples(samples)
    output = encoder(batch)
    seen = []
    fuse = encoder.fusion.forward

    def watched(tokens, rows, count, placeholder_tokens=None):
        seen.append({name: rows[name].tolist() for name in rows})
        return fuse(tokens, rows, count, placeholder_tokens)

    encoder.fusion.forward = watched
    term = Consistency(32)(encoder, output, batch)
    (kept,) = seen
    held = [sum(patient in rows for rows in kept.values()) for patient in range(4)]
    assert held == [1, 2, 1, 2], "one less for each who had several, the only one of the first"
    assert term is not None and term.samples["fusion"] == 3
    assert 0 <= term.loss.item() <= 2
    term.loss.backward()
    assert encoder.fusion.patient.grad is not None


def test_consistency_has_nothing_to_say_of_patients_with_one_modality(encoder, samples):
    batch = encoder.encode_samples([samples[0], samples[0]])
    assert Consistency(32)(encoder, encoder(batch), batch) is None
