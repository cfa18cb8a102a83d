"""Pooled statistics in training: one standardisation, one stain."""

import json

import numpy as np
import pytest
import torch

from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.statistics import (
    stain_reference,
)
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.stain import restain
from pretrain.federated.task import initial_moments


def test_every_site_starts_from_pooled_standardisation(cohort, pooled):
    genes = [*reversed(cohort.dictionary.genes), "NOT_MEASURED"]
    torch.manual_seed(0)
    modality = Genomics(8, genes)
    found = initial_moments(pooled, genes)
    assert {group_of(name) for name in found} == {"genomics"}
    prefix = "encoder.modalities.genomics."
    state = {f"{prefix}{name}": value for name, value in modality.state_dict().items()}
    assert found.keys() <= state.keys()
    for name, value in found.items():
        assert (value.shape, value.dtype) == (tuple(state[name].shape), np.float32)
        modality.state_dict()[name.removeprefix(prefix)].copy_(torch.from_numpy(value))
    have = cohort.patients.index[cohort.patients["genomics"]]
    profiles = np.stack([cohort.sample(patient)["genomics"]["expression"][::-1] for patient in have])
    mean, spread = np.nanmean(profiles, axis=0), np.sqrt(np.nanvar(profiles, axis=0, ddof=1) + 1e-3)
    ours = modality.standardise(torch.from_numpy(np.pad(profiles, ((0, 0), (0, 1)))))
    np.testing.assert_allclose(ours[:, :-1], np.clip((profiles - mean) / spread, -6, 6), atol=2e-4)
    assert (modality.expression_mean[-1], modality.expression_variance[-1]) == (0, 1)
    before = modality.expression_mean.clone()
    modality.observe({"values": torch.from_numpy(np.pad(profiles[:4, None] + 100, ((0, 0), (0, 0), (0, 1))))})
    moved = (modality.expression_mean - before)[:-1]
    assert 0 < moved.max() < 12  # one gene is not known yet: a batch moves moments by a tenth, it does not replace them
    known = Genomics(8, genes[:-1])
    for name, value in initial_moments(pooled, genes[:-1]).items():
        known.state_dict()[name.removeprefix(prefix)].copy_(torch.from_numpy(value))
    before = known.expression_mean.clone()
    known.observe({"values": torch.from_numpy(profiles[:4, None] + 100)})
    assert torch.equal(known.expression_mean, before), "moments of all training patients are no batch's to move"
    with pytest.raises(UserError, match="no site told expression"):
        initial_moments(pooled.only(["counts"]), genes)


def test_tiles_are_brought_to_the_pooled_stain(cohort, pooled, tmp_path):
    reference = stain_reference(pooled)
    modality = Pathology(8, size=64, stain_reference=reference)
    patient = next(iter(cohort.patients.index[cohort.patients["pathology"]]))
    inputs = modality.transform(cohort.sample(patient)["pathology"], None)
    gain, shift = inputs["stain"][0]
    assert torch.equal(inputs["stain"][0], inputs["stain"][-1])
    assert (gain > 0).all()
    images = inputs["images"].permute(0, 3, 1, 2).float() / 255
    hed = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    inverse = torch.linalg.inv(hed / hed.norm(dim=1, keepdim=True))

    def amounts(pictures: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return -torch.log10(pictures.clamp_min(1 / 255)).permute(0, 2, 3, 1).reshape(-1, 3)[where] @ inverse

    tissue = -torch.log10(images.clamp_min(1 / 255)).permute(0, 2, 3, 1).reshape(-1, 3).mean(dim=1) >= 0.15
    expected = amounts(images, tissue) * gain + shift
    torch.testing.assert_close(expected.mean(dim=0), torch.tensor(reference["mean"]), atol=1e-3, rtol=0)
    closer = (amounts(restain(images, inputs["stain"]), tissue).mean(dim=0) - expected.mean(dim=0)).abs()
    assert (closer < 0.05).all()  # colours that would be brighter than white are white
    with pytest.raises(UserError, match="no site told stain"):
        stain_reference(pooled.only(["counts"]))

    path = tmp_path / "stain.json"
    path.write_text(json.dumps(reference))
    assert Pathology(8, size=64, stain_reference=str(path)).settings()["stain_reference"] == reference
    assert Pathology.load(modality.settings(), tmp_path).stain_reference == reference


def test_a_blank_tile_keeps_its_colours_and_jitter_comes_on_top(pooled):
    modality = Pathology(8, size=32, stain_jitter=0.1, stain_reference=stain_reference(pooled))
    plain = Pathology(8, size=32, stain_jitter=0.1)
    white = np.full((2, 32, 32, 3), 255, np.uint8)
    assert torch.equal(modality.transform(white, None)["stain"][0], torch.tensor([[1.0] * 3, [0.0] * 3]))
    one, other = (part.transform(white, torch.Generator().manual_seed(3))["stain"] for part in (modality, plain))
    assert torch.equal(one, other)
    assert "stain" not in plain.transform(white, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": [1, 2, 3]}, "mean and spread are wanted"),
        ({"mean": [1, 2], "spread": [1, 1, 1]}, "mean: three numbers"),
        ({"mean": [1, 2, "x"], "spread": [1, 1, 1]}, "mean: three numbers"),
        ({"mean": [1, 2, 3], "spread": [1, 0, 1]}, "is not above 0"),
        ("/nowhere/stain.yaml", "not readable"),
    ],
)
def test_a_wrong_stain_reference_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        Pathology(8, size=32, stain_reference=given)
    assert "modality.pathology.stain_reference" in str(caught.value)


def test_an_encoder_with_a_stain_reference_is_trained_and_saved_like_any(pooled, samples, tmp_path):
    torch.manual_seed(0)
    reference = stain_reference(pooled)
    encoder = MultimodalEncoder({"pathology": Pathology(16, size=32, stain_reference=reference)}, 16, fusion_layers=1)
    rows = [{"pathology": sample["pathology"]} for sample in samples if "pathology" in sample]
    encoder.eval()
    before = encoder(encoder.encode_samples(rows)).embeddings["pathology"]
    encoder.save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").eval()
    torch.testing.assert_close(again(again.encode_samples(rows)).embeddings["pathology"], before)
    encoder.modalities["pathology"].stain_reference = None
    plain = encoder(encoder.encode_samples(rows)).embeddings["pathology"]
    assert not torch.allclose(plain, before)
