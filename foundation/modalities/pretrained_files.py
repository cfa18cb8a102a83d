"""Files of a pretrained backbone: weights, and the `config.json` that timm writes beside them."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foundation.errors import UserError
from foundation.files import read_json
from foundation.tensors import read_tensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_HEADS = ("head", "fc", "classifier")
_OF_PIXELS = ("input_size", "fixed_input_size", "mean", "std", "interpolation")


def read_model_config(weights: Path, name: str, setting: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `config.json` beside local weights says of their pixels, and the model's options; nothing where none lies.

    Args:
        weights: the safetensors file.
        name: of the timm model that is wanted.
        setting: its name in the config, for errors.

    Raises:
        UserError: if it is of another model.
    """
    path = weights.with_name(CONFIG)
    content = read_json(path, "copy the folder again") if path.is_file() else {}
    architecture = content.get("architecture")
    if architecture is None:
        return {}, {}
    if architecture.split(".")[0] != name.split(".")[0]:
        raise UserError(f"{path}: of {architecture}; set {setting}.backbone to it, not to {name}")
    pixels = content.get("pretrained_cfg", content)
    return {field: pixels[field] for field in _OF_PIXELS if field in pixels}, content.get("model_args", {})


def read_architecture(folder: Path, setting: str) -> str:
    """The timm model whose folder it is, as timm writes and hubs keep them.

    Raises:
        UserError: if its `config.json` names none.
    """
    architecture = read_json(folder / CONFIG, f"name another folder as {setting}.backbone").get("architecture")
    if not isinstance(architecture, str):
        advice = "name its timm model as backbone, and its .safetensors file as weights"
        raise UserError(f"{folder / CONFIG}: names no architecture of timm; {advice}")
    return architecture


def load_local(backbone: nn.Module, path: Path, setting: str) -> None:
    """Loads a safetensors file; a classifier in it is left out, anything else must fit.

    Raises:
        UserError: if the file is missing, of another form, or of another model.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        raise UserError(f"{setting}.weights: {path}: no such .safetensors file; other forms may hold code")
    needed = backbone.state_dict()
    state = _without_prefix(read_tensors(path, f"copy it again, or name another file as {setting}.weights"), needed)
    heads = {name for name in state if name.split(".")[0] in _HEADS and name not in needed}
    missing = sorted(needed.keys() - state.keys())
    unknown = sorted(state.keys() - needed.keys() - heads)
    wrong = sorted(name for name in needed.keys() & state.keys() if needed[name].shape != state[name].shape)
    if missing or unknown or wrong:
        first = (missing + unknown + wrong)[0]
        advice = "name its backbone, and its options as model_args"
        raise UserError(f"{setting}.weights: {path}: of another model (first at {first}); {advice}")
    backbone.load_state_dict({name: value for name, value in state.items() if name in needed})


def _without_prefix(state: dict[str, Tensor], needed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a trainer put before all of them, such as `module.` or `model.`."""
    known = {name.split(".")[0] for name in needed}
    while state and len(first := {name.partition(".")[0] for name in state}) == 1 and not first & known:
        if not all("." in name for name in state):
            break
        state = {name.partition(".")[2]: value for name, value in state.items()}
    return state
