"""What an encoder starts from, and how much of it learns."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.pooling import TransformerPool
from foundation.modalities.report.encoder import Report, clinical_tokenizer

IMAGES = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)


def tokens(module, raw=IMAGES):
    return module(module.collate([module.transform(raw, None)]))


def weights_file(folder: Path, **extra: torch.Tensor) -> Path:
    torch.manual_seed(5)
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file({name: value.contiguous() for name, value in {**state, **extra}.items()}, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_local_weights_are_where_a_backbone_starts_and_a_classifier_in_them_is_left_out(tmp_path):
    path = weights_file(tmp_path, **{"fc.weight": torch.ones(10, 4)})
    module = Pathology(16, backbone="test_resnet", size=32, weights=str(path))
    torch.manual_seed(5)
    expected = timm.create_model("test_resnet", num_classes=0).state_dict()
    for name, value in module.backbone.state_dict().items():
        assert torch.equal(value, expected[name])


def test_weights_of_another_model_or_form_are_refused_in_one_line(tmp_path):
    path = weights_file(tmp_path)
    with pytest.raises(UserError, match=r"modality\.pathology\.weights: .*: of another model \(first at"):
        Pathology(16, backbone="test_vit", size=160, weights=str(path))
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="no such .safetensors file; other forms may hold code"):
        Pathology(16, backbone="test_resnet", size=32, weights=str(tmp_path / "w.pth"))
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not readable as safetensors"):
        Pathology(16, backbone="test_resnet", size=32, weights=str(tmp_path / "bad.safetensors"))


def test_a_frozen_backbone_neither_learns_nor_counts():
    module = Pathology(16, backbone="test_resnet", size=32, tune="frozen").train()
    before = {name: value.clone() for name, value in module.backbone.state_dict().items()}
    tokens(module).values.sum().backward()
    assert all(parameter.grad is None for parameter in module.backbone.parameters())
    assert module.to_width[1].weight.grad is not None
    for name, value in module.backbone.state_dict().items():
        assert torch.equal(value, before[name]), "running statistics stay as they were"


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_adapters_start_as_nothing_and_are_all_that_learns(backbone, tmp_path):
    size = 32 if backbone == "test_resnet" else 64
    torch.manual_seed(0)
    whole = Pathology(16, backbone=backbone, size=size).eval()
    torch.manual_seed(0)
    lora = Pathology(16, backbone=backbone, size=size, tune="lora", lora_rank=2).eval()
    lora.to_width.load_state_dict(whole.to_width.state_dict())
    lora.pool.load_state_dict(whole.pool.state_dict())
    torch.testing.assert_close(tokens(lora).values, tokens(whole).values)
    tokens(lora).values.square().sum().backward()
    learning = {name for name, value in lora.backbone.named_parameters() if value.requires_grad}
    assert learning and all("lora_" in name for name in learning)
    count = sum(value.numel() for value in lora.backbone.parameters() if value.requires_grad)
    assert count < 0.5 * sum(value.numel() for value in whole.backbone.parameters())
    encoder = MultimodalEncoder({"pathology": lora}, 16)
    with torch.no_grad():
        for name, value in lora.backbone.named_parameters():
            if "lora_" in name:
                value.normal_(std=0.1)
    encoder.save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder")
    torch.testing.assert_close(tokens(again.modalities["pathology"]).values, tokens(lora).values)


def test_a_way_of_tuning_that_there_is_not_is_one_line():
    with pytest.raises(UserError, match=r"modality\.pathology\.tune: found 'half'; choose from full, frozen, lora"):
        Pathology(16, backbone="test_resnet", size=32, tune="half")
    with pytest.raises(UserError, match=r"modality\.pathology\.pooling: found 'mean'; choose from gated, transformer"):
        Pathology(16, backbone="test_resnet", size=32, pooling="mean")


def test_vision_transformers_take_any_size_drop_patches_and_recompute_activations():
    module = Pathology(16, backbone="test_vit", size=64, patch_dropout=0.5, checkpoint_activations=True)
    module.train()
    seen = []
    module.backbone.blocks[0].register_forward_hook(lambda block, inputs, output: seen.append(inputs[0].shape[1]))
    tokens(module).values.sum().backward()
    assert seen[0] == 1 + 8, "half of 16 patches, and the class token"
    module.eval()
    tokens(module)
    assert seen[-1] == 1 + 16
    with pytest.raises(UserError, match="patch_dropout is for vision transformers"):
        Pathology(16, backbone="test_resnet", size=32, patch_dropout=0.5)


def test_windows_of_text_are_no_longer_than_the_encoders_positions(tmp_path):
    long = Report(16, layers=1, max_length=600).eval()
    inputs = long.transform("tumor " * 700, None)
    assert len(inputs["pieces"]) > 600
    assert long(long.collate([inputs])).values.isfinite().all()
    tokenizer = clinical_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match=r"modality\.report\.max_length: 513, but the model reads at most 512 pieces"):
        Report(16, model=str(tmp_path / "bert"), max_length=513)


def test_text_encoders_come_from_a_local_folder_frozen_or_with_adapters(tmp_path):
    tokenizer = clinical_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    frozen = Report(16, model=str(tmp_path / "bert"), tune="frozen").train()
    assert not frozen.text.training and not any(value.requires_grad for value in frozen.text.parameters())
    lora = Report(16, model=str(tmp_path / "bert"), tune="lora", lora_rank=2, checkpoint_activations=True).train()
    lora(lora.collate([lora.transform("Necrosis is extensive.", None)])).values.sum().backward()
    learning = {name for name, value in lora.text.named_parameters() if value.grad is not None}
    assert learning and all("lora_" in name for name in learning)
    MultimodalEncoder({"report": lora}, 16).save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").modalities["report"]
    said, expected = (tokens(module.eval(), "Necrosis is extensive.").values for module in (again, lora))
    torch.testing.assert_close(said, expected)


def test_features_are_tokens_and_pixels_are_refused(tmp_path):
    module = TileFeatures(16, dim=12, max_tiles=5).eval()
    raw = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float16)
    found = tokens(module, raw)
    assert found.values.shape == (1, 5, 16) and found.mask.all()
    order = torch.tensor([3, 1, 0, 4, 2])
    turned = found.values[:, order]
    torch.testing.assert_close(module.embed(type(found)(turned, found.mask)), module.embed(found), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"modality\.pathology\.dim: 12, but the cohort holds images"):
        module.transform(IMAGES, None)
    with pytest.raises(UserError, match=r"modality\.pathology\.dim: 12, but the cohort holds 8 values a tile"):
        module.transform(raw[:, :8], None)
    encoder = MultimodalEncoder({"pathology": module}, 16)
    encoder.save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").modalities["pathology"]
    torch.testing.assert_close(tokens(again, raw).values, found.values)


def test_a_set_pooled_by_a_transformer_ignores_padding():
    torch.manual_seed(0)
    pool = TransformerPool(16).eval()
    values, mask = torch.randn(2, 5, 16), torch.tensor([[True] * 5, [True, True, False, False, False]])
    other = values.masked_fill(~mask[..., None], 7.0)
    torch.testing.assert_close(pool(values, mask), pool(other, mask))
    torch.testing.assert_close(pool(values, mask)[1], pool(values[1:, :2], mask[1:, :2])[0], atol=1e-5, rtol=1e-5)
