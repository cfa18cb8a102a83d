"""Objectives that one modality teaches itself."""

import numpy as np
import pytest
import torch

from foundation.data.sampler import generator_of
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.pathology.encoder import Pathology
from foundation.objectives.masked_images import MaskedImages
from foundation.objectives.masked_words import MaskedWords
from foundation.objectives.two_views import TwoViews


def train_batch(encoder, samples):
    return encoder.encode_samples(samples, generators=[generator_of(7, n) for n in range(len(samples))])


def learn(objective, encoder, batch, steps: int = 40) -> list[float]:
    optimizer = torch.optim.Adam([*objective.parameters(), *encoder.parameters()], lr=3e-3)
    losses = []
    for _ in range(steps):
        term = objective(encoder, encoder(batch), batch)
        optimizer.zero_grad()
        term.loss.backward()
        optimizer.step()
        losses.append(term.loss.item())
    return losses


def test_two_views_of_a_patient_share_no_tile_and_no_gene(encoder, samples):
    batch = encoder.encode_samples(samples)
    output = encoder(batch)
    views = encoder.modalities["pathology"].views(batch.inputs["pathology"], output.tokens["pathology"])
    assert views.who.tolist() == [True, False, True], "one tile has no halves"
    assert not (views.one.mask & views.other.mask).any()
    assert torch.equal(views.one.mask | views.other.mask, output.tokens["pathology"].mask[views.who])
    assert views.one.mask.sum(dim=1).tolist() == [2, 2] and views.other.mask.sum(dim=1).tolist() == [1, 2]


def test_two_views_teach_those_who_have_two(encoder, samples):
    torch.manual_seed(0)
    batch = encoder.encode_samples(samples)
    term = TwoViews(32)(encoder, encoder(batch), batch)
    assert term is not None and term.samples["pathology"] == 2 and "record" not in term.samples
    assert (
        TwoViews(32)(encoder, encoder(encoder.encode_samples(samples[1:2])), encoder.encode_samples(samples[1:2]))
        is None
    )


def test_two_views_can_be_learnt(encoder):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shades = (rng.integers(base, base + 40, (4, 32, 32, 3)).astype(np.uint8) for base in (20, 120, 210))
    losses = learn(TwoViews(32), encoder, encoder.encode_samples([{"pathology": tiles} for tiles in shades]))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_hidden_words_are_never_special_and_mostly_masked(encoder):
    report = encoder.modalities["report"]
    text = "necrosis and atypia " * 20
    drawn = report.transform(text, generator_of(0))
    special = set(report.tokenizer.all_special_ids)
    masked = drawn["masked"]
    assert 0.05 < masked.float().mean() < 0.3
    assert not any(int(piece) in special for piece in drawn["pieces"][masked])
    assert torch.equal(drawn["corrupted"][~masked], drawn["pieces"][~masked])
    assert (drawn["corrupted"][masked] == report.tokenizer.mask_token_id).float().mean() > 0.5
    assert torch.equal(report.transform(text, generator_of(0))["corrupted"], drawn["corrupted"])
    assert "masked" not in report.transform(text, None)


def test_masked_words_learn_from_reports_in_training_alone(encoder, samples):
    torch.manual_seed(0)
    rows = [{"report": "Dense sheets of tumour cells with necrosis and brisk mitoses in all fields."}] * 3
    objective = MaskedWords(32)
    plain = encoder.encode_samples(rows)
    assert objective(encoder, encoder(plain), plain) is None
    batch = train_batch(encoder, rows)
    term = objective(encoder, encoder(batch), batch)
    assert term is not None and 1 <= term.samples["report"] <= 3
    losses = learn(objective, encoder, batch)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(("backbone", "square"), [("resnet10t", 32), ("test_vit", 16)])
def test_masked_images_are_painted_from_what_is_left(samples, backbone, square):
    torch.manual_seed(0)
    encoder = MultimodalEncoder({"pathology": Pathology(32, backbone=backbone, size=64)}, 32).train()
    batch = encoder.encode_samples([samples[0], samples[3]])
    objective = MaskedImages(32, square=square)
    output = encoder(batch)
    counted = {name: value.clone() for name, value in encoder.named_buffers()}
    term = objective(encoder, output, batch)
    assert term is not None and term.samples == {"pathology": 2}
    term.loss.backward()
    first = next(value for value in encoder.modalities["pathology"].backbone.parameters() if value.ndim == 4)
    assert first.grad is not None and first.grad.abs().sum() > 0
    for name, value in encoder.named_buffers():
        assert torch.equal(value, counted[name]) or name.endswith("num_batches_tracked")


def test_a_square_that_is_not_the_backbones_is_one_line(encoder, samples):
    batch = encoder.encode_samples(samples)
    with pytest.raises(UserError, match=r"square 16, but resnet10t sees 1 places in 32 pixels; set square to 32"):
        MaskedImages(32, square=16)(encoder, encoder(batch), batch)
