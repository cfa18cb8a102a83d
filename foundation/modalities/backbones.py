"""timm backbones: random, from a local file, or from the hub."""

from pathlib import Path
from typing import Any

import timm
from timm.models import get_pretrained_cfg_value
from torch import nn

from foundation.errors import UserError
from foundation.tensors import read_tensors


def create_backbone(name: str, size: int, patch_dropout: float, weights: str | None, setting: str) -> Any:
    """A timm model without its classifier.

    Args:
        name: of a timm model.
        size: side of its images in pixels.
        patch_dropout: share of patches left out in training.
        weights: see `ImageSet`.
        setting: its name in the config, for errors.

    Raises:
        UserError: if timm has no such model, or the weights are none of it.
    """
    options: dict[str, Any] = {"num_classes": 0, "pretrained": weights == "hub"}
    if timm.is_model(name) and get_pretrained_cfg_value(name, "fixed_input_size"):
        options["img_size"] = size
    if patch_dropout:
        options["patch_drop_rate"] = patch_dropout
    try:
        backbone = timm.create_model(name, **options)
    except TypeError as error:
        raise UserError(f"{setting}: {name} takes no {error}; patch_dropout is for vision transformers") from error
    except RuntimeError as error:
        raise UserError(f"{setting}.backbone: {error}; timm.list_models() names what there is") from error
    if weights not in (None, "hub"):
        load_local(backbone, Path(str(weights)), setting)
    return backbone


def load_local(backbone: nn.Module, path: Path, setting: str) -> None:
    """Loads a safetensors file; a classifier in it is left out, anything else must fit.

    Raises:
        UserError: if the file is missing, of another form, or of another model.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        raise UserError(f"{setting}.weights: {path}: no such .safetensors file; other forms may hold code")
    state = read_tensors(path, f"copy it again, or name another file as {setting}.weights")
    needed = backbone.state_dict()
    heads = {name for name in state if name.split(".")[0] in ("head", "fc", "classifier") and name not in needed}
    missing = sorted(needed.keys() - state.keys())
    unknown = sorted(state.keys() - needed.keys() - heads)
    wrong = sorted(name for name in needed.keys() & state.keys() if needed[name].shape != state[name].shape)
    if missing or unknown or wrong:
        first = (missing + unknown + wrong)[0]
        raise UserError(f"{setting}.weights: {path}: of another model (first at {first}); name its backbone")
    backbone.load_state_dict({name: value for name, value in state.items() if name in needed})
