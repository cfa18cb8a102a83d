import copy

import pytest
import torch

from foundation.gradient_cache import join
from foundation.objectives.alignment import Alignment


def without_chance(encoder):
    """Evaluation's dropout and batch norms, training's way through the encoder."""
    encoder.training = encoder.modalities["genomics"].training = True  # whose statistics move in training alone
    return encoder


def gradients(encoder, objective, batch):
    output = encoder(batch)
    term = objective(encoder, output, batch)
    term.loss.backward()
    named = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return term.loss.item(), named, {name: value.clone() for name, value in encoder.named_buffers()}


@pytest.mark.parametrize("patients", [1, 2, 3])
def test_loss_gradients_and_statistics_are_those_of_the_whole_batch(encoder, samples, patients):
    batch = encoder.encode_samples(samples * 2)
    parts = copy.deepcopy(encoder)
    parts.patients_at_once = patients
    torch.manual_seed(0)
    objective = Alignment(32)
    whole_loss, whole, whole_buffers = gradients(without_chance(encoder), objective, batch)
    loss, found, buffers = gradients(without_chance(parts), copy.deepcopy(objective), batch)
    assert loss == pytest.approx(whole_loss, abs=1e-5)
    assert found.keys() == whole.keys() and len(found) > 20
    for name in whole:
        torch.testing.assert_close(found[name], whole[name], atol=1e-5, rtol=0)
    assert whole_buffers["modalities.genomics.seen"] == 1
    for name, value in whole_buffers.items():
        torch.testing.assert_close(buffers[name], value)


def test_a_batch_norm_counts_a_part_once(encoder, samples):
    encoder.train()
    encoder.patients_at_once = 4
    batch = encoder.encode_samples(samples * 2)
    norm = next(m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    output = encoder(batch)
    before = norm.running_mean.clone()
    assert before.abs().sum() > 0
    output.fused.sum().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.momentum == 0.1


@torch.no_grad()
def test_parts_joined_are_the_whole(encoder, samples):
    batch = encoder.encode_samples(samples)
    whole, joined = encoder(batch), join([encoder(part) for part in batch.split(1)])
    torch.testing.assert_close(joined.fused, whole.fused, atol=1e-5, rtol=0)
    assert joined.tokens.keys() == whole.tokens.keys() == joined.embeddings.keys()
    for name, tokens in whole.tokens.items():
        assert torch.equal(joined.tokens[name].mask, tokens.mask)
        torch.testing.assert_close(
            joined.tokens[name].values[tokens.mask], tokens.values[tokens.mask], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(joined.embeddings[name], whole.embeddings[name], atol=1e-5, rtol=0)
