"""The pixels that a backbone's weights were made with: mean, deviation, size and interpolation, with exact values."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.radiology.encoder import Radiology

TILE = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), dtype=np.uint8)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
VIT = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}


def pixels(module: Pathology, raw: object = TILE) -> torch.Tensor:
    return module.pixels(module.collate([module.transform(raw, None)]))


def expected(mean: list[float], std: list[float]) -> torch.Tensor:
    images = torch.from_numpy(TILE).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def weights_file(folder: Path, config: dict[str, object] | None = None, prefix: str = "", **options: object) -> Path:
    """Of a small vision transformer at 32 pixels; `config` is what timm writes beside it."""
    torch.manual_seed(5)
    state = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, **VIT, **options).state_dict()
    folder.mkdir(exist_ok=True)
    save_file({f"{prefix}{name}": value for name, value in state.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", [Pathology, Radiology])
@pytest.mark.parametrize(
    ("backbone", "mean", "std"),
    [
        ("resnet10t", *IMAGENET),
        ("vit_tiny_patch16_224.augreg_in21k", [0.5] * 3, [0.5] * 3),
        (
            "resnet50_clip.openai",
            [0.48145466, 0.4578275, 0.40821073],
            [0.26862954, 0.26130258, 0.27577711],
        ),
    ],
)
def test_each_backbone_gets_the_pixels_of_its_own_weights(kind, backbone, mean, std):
    module = kind(8, backbone=backbone, size=32)
    torch.testing.assert_close(pixels(module), expected(mean, std))
    assert (list(module.pixel_settings.mean), list(module.pixel_settings.std)) == (mean, std)


def test_mean_and_deviation_can_be_set():
    module = Pathology(8, backbone="test_resnet", size=32, mean=[0.7, 0.5, 0.6], std=[0.1, 0.2, 0.3])
    torch.testing.assert_close(pixels(module), expected([0.7, 0.5, 0.6], [0.1, 0.2, 0.3]))


def test_the_size_is_the_backbones_own_unless_set():
    assert Pathology(8, backbone="test_vit").size == 160
    assert Pathology(8, backbone="test_vit", size=64).size == 64


@pytest.mark.parametrize(("chosen", "mode"), [(None, "bicubic"), ("bilinear", "bilinear")])
def test_images_are_resized_as_the_weights_want_it(chosen, mode):
    module = Pathology(8, backbone="test_vit", size=16, interpolation=chosen)
    images = torch.from_numpy(TILE).permute(0, 3, 1, 2)
    small = functional.interpolate(images, size=(16, 16), mode=mode, antialias=True).permute(0, 2, 3, 1)
    torch.testing.assert_close(module.transform(TILE, None)["images"], small)


def test_the_file_beside_the_weights_decides(tmp_path):
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_features": 24,
        "pretrained_cfg": {
            "mean": IMAGENET[0],
            "std": IMAGENET[1],
            "interpolation": "bilinear",
            "input_size": [3, 32, 32],
        },
        "model_args": {**VIT, "img_size": 32, "init_values": 1e-5, "reg_tokens": 4},
    }
    path = weights_file(tmp_path / "uni", config, init_values=1e-5, reg_tokens=4)
    module = Pathology(8, backbone="vit_tiny_patch16_224", weights=str(path))
    assert module.size == 32
    assert module.pixel_settings.interpolation == "bilinear"
    torch.testing.assert_close(pixels(module), expected(*IMAGENET))
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, **config["model_args"]).eval()
    plain.load_state_dict(module.backbone.state_dict())
    torch.testing.assert_close(module.eval().backbone(pixels(module)), plain(expected(*IMAGENET)))
    overridden = Pathology(8, backbone="vit_tiny_patch16_224", weights=str(path), mean=[0.5] * 3, std=[0.5] * 3)
    torch.testing.assert_close(pixels(overridden), expected([0.5] * 3, [0.5] * 3))
    with pytest.raises(UserError, match=r"config\.json: of vit_tiny_patch16_224; set modality\.pathology\.backbone to"):
        Pathology(8, backbone="resnet10t", weights=str(path))


@pytest.mark.parametrize("options", [{"init_values": 1e-5}, {"reg_tokens": 4, "no_embed_class": True}])
def test_options_of_the_model_are_passed_on(tmp_path, options):
    path = weights_file(tmp_path, **options)
    known = {**VIT, "img_size": 32}
    module = Pathology(8, backbone="vit_tiny_patch16_224", size=32, weights=str(path), model_args={**known, **options})
    torch.manual_seed(5)
    same = timm.create_model("vit_tiny_patch16_224", num_classes=0, **known, **options).state_dict()
    for name, value in module.backbone.state_dict().items():
        assert torch.equal(value, same[name]), name
    with pytest.raises(UserError, match=r"of another model \(first at .*\); name its backbone, and its options as"):
        Pathology(8, backbone="vit_tiny_patch16_224", size=32, weights=str(path), model_args=known)


def test_layers_are_named_as_in_timm_and_torch():
    options = {**VIT, "mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
    module = Pathology(8, backbone="vit_tiny_patch16_224", size=32, model_args=options)
    assert type(module.backbone.blocks[0].mlp).__name__ == "GluMlp"
    assert isinstance(module.backbone.blocks[0].mlp.act, torch.nn.SiLU)
    assert module.settings()["model_args"]["mlp_layer"] == "SwiGLUPacked"
    with pytest.raises(UserError, match=r"modality\.pathology\.model_args\.mlp_layer: no layer 'Nothing' in timm"):
        Pathology(8, backbone="vit_tiny_patch16_224", model_args={"mlp_layer": "Nothing"})
    with pytest.raises(UserError, match=r"modality\.pathology: vit_tiny_patch16_224 takes no such option .*'colour'"):
        Pathology(8, backbone="vit_tiny_patch16_224", size=32, model_args={"colour": 1})


@pytest.mark.parametrize("prefix", ["module.", "model.backbone."])
def test_what_a_trainer_puts_before_all_names_is_taken_off(tmp_path, prefix):
    path = weights_file(tmp_path, prefix=prefix)
    module = Radiology(8, "vit_tiny_patch16_224", 32, weights=str(path), model_args={**VIT, "img_size": 32})
    torch.manual_seed(5)
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, **VIT).state_dict()
    assert torch.equal(module.backbone.state_dict()["pos_embed"], plain["pos_embed"])


def test_another_size_than_the_weights_where_the_model_can(tmp_path):
    path = weights_file(tmp_path)
    module = Pathology(
        8, backbone="vit_tiny_patch16_224", size=64, weights=str(path), model_args={**VIT, "img_size": 32}
    )
    torch.manual_seed(5)
    same = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, **VIT)
    same.set_input_size(img_size=(64, 64))
    assert module.backbone.pos_embed.shape == (1, 65, 24)
    torch.testing.assert_close(module.backbone.pos_embed, same.pos_embed)
    assert module(module.collate([module.transform(TILE, None)])).values.shape == (1, 1, 8)
    with pytest.raises(UserError, match=r"modality\.pathology\.size: found 60; .* multiples of its patches' 8 pixels"):
        Pathology(8, backbone="vit_tiny_patch16_224", size=60, model_args=VIT)


def test_windows_are_brought_to_another_size_and_come_back_with_the_folder(tmp_path):
    options = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
    module = Radiology(8, backbone="swin_tiny_patch4_window7_224", size=112, model_args=options)
    encoder = MultimodalEncoder({"radiology": module}, 8, fusion_layers=1).eval()
    encoder.save_pretrained(tmp_path / "encoder")
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").modalities["radiology"]
    given = module.collate([module.transform(TILE, None)])
    torch.testing.assert_close(again(given).values, module(given).values)


def test_the_encoder_folder_holds_the_pixels_that_serving_makes(tmp_path, monkeypatch):
    module = Pathology(8, backbone="resnet10t", size=32, mean=[0.7, 0.5, 0.6], interpolation="bilinear")
    MultimodalEncoder({"pathology": module}, 8, fusion_layers=1).save_pretrained(tmp_path / "encoder")
    settings = json.loads((tmp_path / "encoder" / "config.json").read_text())["modalities"]["pathology"]["settings"]
    assert settings["mean"] == [0.7, 0.5, 0.6]
    assert settings["std"] == IMAGENET[1]
    assert (settings["size"], settings["interpolation"], settings["model_args"]) == (32, "bilinear", {})
    # Another release of timm may say otherwise: the folder decides.
    monkeypatch.setattr(timm.models.get_pretrained_cfg("resnet10t"), "std", (0.1, 0.1, 0.1))
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").modalities["pathology"]
    torch.testing.assert_close(pixels(again), expected([0.7, 0.5, 0.6], IMAGENET[1]))


def test_a_folder_that_does_not_say_its_pixels_is_refused(tmp_path):
    module = Pathology(8, backbone="test_resnet", size=32)
    MultimodalEncoder({"pathology": module}, 8, fusion_layers=1).save_pretrained(tmp_path / "encoder")
    path = tmp_path / "encoder" / "config.json"
    content = json.loads(path.read_text())
    for name in ("mean", "std", "interpolation", "model_args"):
        del content["modalities"]["pathology"]["settings"][name]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"config\.json: an earlier release wrote it, and does not say mean and std"):
        MultimodalEncoder.from_pretrained(tmp_path / "encoder")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"mean": [0.5, 0.5]}, r"modality\.pathology\.mean: found \[0\.5, 0\.5\]; give three numbers"),
        ({"std": [0.5, 0.5, 0.0]}, r"modality\.pathology\.std: found \[0\.5, 0\.5, 0\.0\]; give numbers above 0"),
        ({"interpolation": "nearest"}, r"modality\.pathology\.interpolation: found 'nearest'; set it to bilinear or"),
        ({"backbone": "resnet_of_ours"}, r"modality\.pathology\.backbone: no model 'resnet_of_ours'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings, line):
    with pytest.raises(UserError, match=line):
        Pathology(8, **{"backbone": "test_resnet", "size": 32, **settings})
