"""Feature extractors: any image encoder gives what its authors' own code gives, from local files."""

import json
from pathlib import Path

import foundation  # noqa: F401  # isort: skip
import numpy as np
import pytest
import timm
import torch
import transformers
from omegaconf import OmegaConf
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from torch.nn import functional

from foundation.errors import UserError
from foundation.modalities.extractor import FeatureExtractor

TILES = list(np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8))
VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}
MEAN, STD = [0.7072, 0.5787, 0.7036], [0.2119, 0.2302, 0.1775]  # as of an encoder of pathology
LAYERS = {"SwiGLUPacked": SwiGLUPacked, "SiLU": torch.nn.SiLU}
NAMES = {layer: name for name, layer in LAYERS.items()}
CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "extractor"
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
}


def timm_folder(folder: Path, **options: object) -> Path:
    """Of a small vision transformer, as timm pushes it to the hub."""
    torch.manual_seed(5)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT, **options)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    named = {name: value if isinstance(value, int | float | str) else NAMES[value] for name, value in options.items()}
    pixels = {"mean": MEAN, "std": STD, "interpolation": "bilinear", "input_size": [3, 32, 32]}
    config = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": pixels, "model_args": {**VIT, **named}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def authors(folder: Path, **options: object) -> torch.nn.Module:
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT, **options).eval()
    model.load_state_dict(FeatureExtractor(str(folder), model_args={}).backbone.state_dict())
    return model


def pixels(mean: list[float] = MEAN, std: list[float] = STD) -> torch.Tensor:
    images = torch.from_numpy(np.stack(TILES)).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def transformers_folder(folder: Path, model: transformers.PreTrainedModel, **preprocessor: object) -> Path:
    model.save_pretrained(folder)
    content = {"image_mean": MEAN, "image_std": STD, "size": {"height": 32, "width": 32}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(content | preprocessor))
    return folder


@torch.inference_mode()
def test_uni_is_read_as_its_authors_say(tmp_path):
    folder = timm_folder(tmp_path / "uni", init_values=1e-5, dynamic_img_size=True)
    model = authors(folder, init_values=1e-5, dynamic_img_size=True)
    extractor = FeatureExtractor(str(folder))
    assert (extractor.dim, extractor.tile, extractor.pixel_settings.interpolation) == (24, 32, "bilinear")
    torch.testing.assert_close(torch.from_numpy(extractor.encode(TILES)), model(pixels()))


@torch.inference_mode()
def test_virchow_is_read_as_its_authors_say(tmp_path):
    options = {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU, "reg_tokens": 4, "mlp_ratio": 4}
    folder = timm_folder(tmp_path / "virchow2", **options, global_pool="")
    with pytest.raises(UserError, match=r"extractor\.pooling: .*virchow2 answers with \[21, 24\]; choose another"):
        FeatureExtractor(str(folder))
    seen = FeatureExtractor(str(folder), pooling="class_mean")
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="", **VIT, **options).eval()
    model.load_state_dict(seen.backbone.state_dict())
    tokens = model(pixels())
    torch.testing.assert_close(
        torch.from_numpy(seen.encode(TILES)), torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], dim=1)
    )


@torch.inference_mode()
@pytest.mark.parametrize(
    ("model", "config", "registers"),
    [
        (transformers.ViTModel, transformers.ViTConfig(**TINY), 0),
        (transformers.Dinov2Model, transformers.Dinov2Config(**TINY), 0),
        (
            transformers.Dinov2WithRegistersModel,
            transformers.Dinov2WithRegistersConfig(**TINY, num_register_tokens=3),
            3,
        ),
    ],
    ids=["Phikon", "Phikon-v2", "registers"],
)
def test_a_transformers_folder_gives_its_class_token(tmp_path, model, config, registers):
    made = model(config).eval()
    folder = transformers_folder(tmp_path / "phikon", made)
    expected = made(pixel_values=pixels()).last_hidden_state
    torch.testing.assert_close(torch.from_numpy(FeatureExtractor(str(folder)).encode(TILES)), expected[:, 0])
    mean = FeatureExtractor(str(folder), pooling="mean")
    torch.testing.assert_close(torch.from_numpy(mean.encode(TILES)), expected[:, 1 + registers :].mean(1))


@torch.inference_mode()
def test_a_model_with_a_tower_of_texts_gives_the_embedding_of_its_images(tmp_path):
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 40}
    config = transformers.CLIPConfig(vision_config=TINY | {"projection_dim": 6}, text_config=text, projection_dim=6)
    made = transformers.CLIPModel(config).eval()
    folder = transformers_folder(
        tmp_path / "plip", made, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    extractor = FeatureExtractor(str(folder))
    expected = made.visual_projection(made.vision_model(pixel_values=pixels()).pooler_output)
    torch.testing.assert_close(torch.from_numpy(extractor.encode(TILES)), expected)
    extractor.save(tmp_path / "saved")
    np.testing.assert_array_equal(FeatureExtractor.load(tmp_path / "saved").encode(TILES), extractor.encode(TILES))


@torch.inference_mode()
def test_middle_layers_are_their_mean_and_spread(tmp_path):
    folder = timm_folder(tmp_path / "uni")
    extractor = FeatureExtractor(str(folder), layers=["blocks.0"], flips=True)
    model = authors(folder)
    views = [pixels().flip(axes) for axes in ([], [2], [3], [2, 3])]
    seen = [model.blocks[0](model.norm_pre(model._pos_embed(model.patch_embed(view)))) for view in views]
    expected = torch.stack([torch.cat([one.mean(1), one.std(1, correction=0)], 1) for one in seen]).mean(0)
    torch.testing.assert_close(torch.from_numpy(extractor.encode(TILES)), expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "moments", "size": 64}, {"layers": ["blocks.1"], "precision": "float16", "stain": "reinhard"}],
    ids=str,
)
def test_its_folder_gives_the_same_features(tmp_path, options):
    extractor = FeatureExtractor(str(timm_folder(tmp_path / "uni", init_values=0.1)), **options)
    extractor.save(tmp_path / "extractor")
    again = FeatureExtractor.load(tmp_path / "extractor")
    assert again.settings() == extractor.settings()
    assert again.encode(TILES).dtype == options.get("precision", "float32")
    np.testing.assert_array_equal(again.encode(TILES), extractor.encode(TILES))


def test_images_are_brought_to_the_encoders_size(tmp_path):
    extractor = FeatureExtractor(str(timm_folder(tmp_path / "uni")))
    large = [np.repeat(np.repeat(tile, 2, axis=0), 2, axis=1) for tile in TILES]
    images = torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)
    small = functional.interpolate(images, (32, 32), mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(extractor.encode(large), extractor.encode(list(small)))


def test_a_timm_name_takes_a_local_file(tmp_path):
    file = timm_folder(tmp_path / "uni") / "model.safetensors"
    by_name = FeatureExtractor("vit_tiny_patch16_224", weights=str(file))
    np.testing.assert_array_equal(by_name.encode(TILES), FeatureExtractor(str(file.parent)).encode(TILES))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"backbone": "resnet10t"}, r"extractor\.weights: none, and features of random weights say nothing"),
        ({"backbone": "resnet10"}, r"extractor\.backbone: no model 'resnet10'"),
        ({"pooling": "cls"}, r"extractor\.pooling: found 'cls'; choose from own, class, mean"),
        ({"layers": ["blocks.9"]}, r"extractor\.feature_layers: the backbone has no layer 'blocks.9'"),
        ({"precision": "int8"}, r"extractor\.precision: found 'int8'"),
        ({"backbone": "EMPTY"}, r"config\.json: missing; name another folder"),
        ({"backbone": "owner/none"}, r"extractor\.backbone: owner/none"),
        ({"backbone": "hf-hub:owner/none"}, r"extractor\.backbone: hf-hub:owner/none cannot be fetched"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_read_is_one_line(tmp_path, options, line):
    (tmp_path / "empty").mkdir()
    settings = {"backbone": str(timm_folder(tmp_path / "uni"))} | options
    settings["backbone"] = settings["backbone"].replace("EMPTY", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=line):
        FeatureExtractor(**settings)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_encoder_can_be_made_of_a_folder(tmp_path, path):
    """Their weights are behind agreements: a small network with their options stands for each."""
    config = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, (CONFIGS / "any.yaml", path))))
    del config["_target_"]
    config.pop("defaults", None)
    if config["backbone"].startswith("owkin/"):
        folder = transformers_folder(tmp_path / "small", transformers.ViTModel(transformers.ViTConfig(**TINY)))
        options: dict[str, object] = {}
    else:
        options = {name: value for name, value in config["model_args"].items() if name not in VIT}
        made = {name: LAYERS.get(value, value) for name, value in options.items()}
        folder = timm_folder(tmp_path / "small", **made)
    extractor = FeatureExtractor(**config | {"backbone": str(folder), "model_args": options})
    assert extractor.encode(TILES).shape == (3, 2 * 24 if config["pooling"] == "class_mean" else extractor.dim)
    assert extractor.mpp == config["mpp"] and (path.stem == "any" or extractor.mpp == 0.5)
