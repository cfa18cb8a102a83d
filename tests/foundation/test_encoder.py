import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.data.sampler import generator_of
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError


@torch.no_grad()
def test_a_patient_embeds_the_same_alone_and_in_a_batch(encoder, samples):
    together = encoder(encoder.encode_samples(samples)).fused
    for index, sample in enumerate(samples):
        alone = encoder(encoder.encode_samples([sample])).fused[0]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_every_subset_of_modalities_is_accepted(encoder, samples):
    whole = samples[1] | {"record": {"age": 41.0, "sex": "F"}}
    for size in range(1, len(whole) + 1):
        for names in itertools.combinations(whole, size):
            fused = encoder(encoder.encode_samples([{name: whole[name] for name in names}])).fused
            assert torch.isfinite(fused).all()


@torch.no_grad()
def test_a_saved_encoder_gives_the_same_outputs(encoder, samples, tmp_path: Path):
    encoder.save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder")
    torch.testing.assert_close(
        again(again.encode_samples(samples)).fused, encoder(encoder.encode_samples(samples)).fused
    )
    assert not list((tmp_path / "encoder").rglob("*.pkl"))


def test_a_folder_cannot_name_a_foreign_class(encoder, tmp_path: Path):
    encoder.save_pretrained(tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    config["modalities"]["pathology"]["type"] = "subprocess.Popen"
    (tmp_path / "encoder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="subprocess.Popen"):
        MultimodalEncoder.from_pretrained(tmp_path / "encoder")


def test_a_missing_folder_says_so(tmp_path: Path):
    with pytest.raises(UserError, match="no config.json"):
        MultimodalEncoder.from_pretrained(tmp_path / "nowhere")


@torch.no_grad()
def test_a_masked_gene_never_changes_the_output(encoder, samples):
    genomics = encoder.modalities["genomics"]
    batch = encoder.encode_samples([samples[2]])
    batch.inputs["genomics"]["masked"][0, 1] = True
    before = genomics(batch.inputs["genomics"]).values
    batch.inputs["genomics"]["values"][0, 0, 1] += 5
    torch.testing.assert_close(genomics(batch.inputs["genomics"]).values, before)
    batch.inputs["genomics"]["values"][0, 0, 0] += 5
    assert not torch.allclose(genomics(batch.inputs["genomics"]).values, before)


def test_training_draws_are_reproducible(encoder, samples):
    draws = [encoder.encode_samples(samples, generators=[generator_of(7, n) for n in range(4)]) for _ in range(2)]
    torch.testing.assert_close(draws[0].inputs["pathology"]["images"], draws[1].inputs["pathology"]["images"])
    assert torch.equal(draws[0].inputs["genomics"]["masked"], draws[1].inputs["genomics"]["masked"])


def test_what_a_patient_gets_in_training_does_not_depend_on_the_others(encoder, samples):
    together = encoder.encode_samples(samples, generators=[generator_of(7, n) for n in range(4)])
    alone = encoder.encode_samples([samples[1]], generators=[generator_of(7, 1)])
    images = alone.inputs["pathology"]["images"]
    torch.testing.assert_close(together.inputs["pathology"]["images"][1, : images.shape[1]], images[0])
    assert torch.equal(together.inputs["genomics"]["masked"][0], alone.inputs["genomics"]["masked"][0])


def test_rows_hold_present_patients_only(encoder, samples):
    batch = encoder.encode_samples(samples)
    assert batch.present["report"].tolist() == [False, True, False, False]
    assert len(batch.inputs["report"]["pieces"]) == 1
    np.testing.assert_array_equal(batch.rows("genomics"), [1, 2, 3])


def test_an_encoder_that_goes_on_training_looks_at_all_for_a_while_alone(encoder):
    looks = {name: module.looks_at_all for name, module in encoder.modalities.items()}
    with pytest.raises(KeyError), encoder.looking_at_all():
        assert all(module.looks_at_all for module in encoder.modalities.values())
        raise KeyError
    assert {name: module.looks_at_all for name, module in encoder.modalities.items()} == looks
