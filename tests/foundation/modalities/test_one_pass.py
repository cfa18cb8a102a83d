"""Tokens and features of one pass through the encoders: the bytes of two passes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, Dinov2Config, ResNetConfig

from foundation.modalities.base import Modality
from foundation.modalities.feature_layers import seen_and_pooled
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report
from foundation.modalities.transformers_backbone import TransformersBackbone

IMAGES = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
COLUMNS = [{"name": "age", "kind": "continuous", "center": 60, "scale": 10}]
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64}
LAYERS = {"feature_layers": ["layer1", "layer3+layer2"]}
SETTINGS: list[Mapping[str, Any]] = [
    {},
    LAYERS,
    {"feature_flips": True},
    {**LAYERS, "feature_flips": True},
    {"backbone": "test_vit"},
    {"backbone": "test_convnext"},
    {"backbone": "test_efficientnet"},
]


def pathology(**settings: Any) -> Pathology:
    torch.manual_seed(0)
    return Pathology(8, **{"backbone": "test_resnet", "size": 64, "max_images": 5, **settings}).eval()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@torch.no_grad()
def test_images_give_the_bytes_of_two_passes(settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch):
    module = pathology(**settings)
    inputs = module.collate([module.transform(some, None) for some in (IMAGES, IMAGES[:2])])
    for at_once in (64, 3):
        monkeypatch.setattr("foundation.modalities.images._AT_ONCE", at_once)
        tokens, features = module.tokens_and_features(inputs)
        assert torch.equal(tokens.values, module(inputs).values)
        assert torch.equal(tokens.mask, inputs["mask"])
        for name, values in module.features(inputs).items():
            assert torch.equal(features[name], values), name


@pytest.mark.parametrize(
    "config",
    [
        CLIPVisionConfig(**SMALL, patch_size=16, projection_dim=16),
        Dinov2Config(**SMALL, patch_size=16),
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    ],
    ids=lambda config: str(config.model_type),
)
@torch.no_grad()
def test_backbones_of_transformers_give_the_bytes_of_two_passes(config: Any):
    torch.manual_seed(0)
    backbone = TransformersBackbone(config).eval()
    pixels = torch.rand(2, 3, 64, 64)
    seen, pooled = seen_and_pooled(backbone, pixels)
    assert torch.equal(seen, backbone.forward_features(pixels))
    assert torch.equal(pooled, backbone(pixels))


@pytest.mark.parametrize(
    ("module", "raws"),
    [
        (TileFeatures(8, dim=3), [np.ones((2, 3), np.float32)]),
        (Record(8, COLUMNS), [{"age": 70.0}, {}]),
        (Report(8, layers=1), ["tumor", "tumor of the left lobe"]),
    ],
    ids=lambda value: type(value).__name__,
)
@torch.no_grad()
def test_other_modalities_give_what_they_give_apart(module: Any, raws: list[Any]):
    module = module.eval()
    inputs = module.collate([module.transform(raw, None) for raw in raws])
    tokens, features = module.tokens_and_features(inputs)
    assert torch.equal(tokens.values, module(inputs).values)
    assert [*features] == [*module.features(inputs)]
    for name, values in module.features(inputs).items():
        assert torch.equal(features[name].nan_to_num(), values.nan_to_num())


class Alone(TileFeatures):
    """A modality without features of its own: they are its embedding."""

    features = Modality.features


@torch.no_grad()
def test_a_modality_whose_features_are_its_embedding_passes_once(monkeypatch: pytest.MonkeyPatch):
    module, calls = Alone(8, dim=3).eval(), []
    inputs = module.collate([module.transform(np.ones((2, 3), np.float32), None)])
    wanted = module.features(inputs)["pathology"]
    module.register_forward_hook(lambda *arguments: calls.append(1))
    _, features = module.tokens_and_features(inputs)
    assert torch.equal(features["pathology"], wanted)
    assert len(calls) == 1


def test_sizes_of_layers_are_measured_once():
    module, passes = pathology(**LAYERS), []
    module.backbone.register_forward_hook(lambda *arguments: passes.append(1))
    assert module.feature_sizes() == module.feature_sizes()
    assert len(passes) == 1
