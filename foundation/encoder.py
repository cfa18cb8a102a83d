"""The multimodal encoder: one encoder a modality, fusion over whatever subset a patient has, one portable folder."""

import importlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foundation.batch import Batch
from foundation.errors import UserError
from foundation.fusion import Fusion
from foundation.modalities.base import Modality, Tokens

_FORMAT = 1
_MODALITIES = "foundation.modalities."


@dataclass
class EncoderOutput:
    """What objectives and heads see.

    Attributes:
        fused: `[batch, width]`, the patient embedding.
        embeddings: by modality, `[present, width]` of unit length, for alignment.
        tokens: by modality, tokens and mask of the present patients.
    """

    fused: Float[Tensor, "batch width"]
    embeddings: dict[str, Tensor]
    tokens: dict[str, Tokens]


class MultimodalEncoder(nn.Module):
    """Encodes patients who have any non-empty subset of the modalities.

    Args:
        modalities: by name.
        width: of tokens and embeddings.
        fusion_layers: transformer blocks over all tokens of a patient.
        dropout: inside fusion.
    """

    def __init__(
        self, modalities: Mapping[str, Modality], width: int, fusion_layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.width = width
        self.fusion_settings = {"layers": fusion_layers, "dropout": dropout}
        self.modalities = nn.ModuleDict(modalities)
        self.fusion = Fusion(list(modalities), width, layers=fusion_layers, dropout=dropout)

    def forward(self, batch: Batch) -> EncoderOutput:
        tokens: dict[str, Tokens] = {}
        embeddings: dict[str, Tensor] = {}
        for name, inputs in batch.inputs.items():
            tokens[name] = self.modalities[name](inputs)
            embeddings[name] = self.modalities[name].embed(tokens[name])  # type: ignore[operator]
        fused = self.fusion(tokens, {name: batch.rows(name) for name in tokens}, len(batch))
        return EncoderOutput(fused, embeddings, tokens)

    def encode_samples(
        self,
        samples: list[dict[str, Any]],
        patients: list[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """Raw samples, as a cohort or a request gives them, as a batch.

        Args:
            samples: by modality, only what the patient has; modalities the encoder lacks are left out.
            patients: ids; positions if not given.
            generator: given in training, for augmentation and corruption.
        """
        present, inputs = {}, {}
        for name, module in self.modalities.items():
            held = [name in sample for sample in samples]
            present[name] = torch.tensor(held)
            rows = [module.transform(sample[name], generator) for sample in samples if name in sample]  # type: ignore[operator]
            if rows:
                inputs[name] = module.collate(rows)  # type: ignore[operator]
        return Batch(patients or [str(i) for i in range(len(samples))], present, inputs)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the portable encoder folder: to a temporary name first, then renamed."""
        temporary = folder.with_name(f".{folder.name}.writing")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        modalities = {}
        for name, module in self.modalities.items():
            modalities[name] = {
                "type": f"{type(module).__module__}.{type(module).__qualname__}",
                "settings": module.settings(),  # type: ignore[operator]
            }
            module.save_assets(temporary)  # type: ignore[operator]
        config = {
            "format": _FORMAT,
            "width": self.width,
            "fusion": self.fusion_settings,
            "modalities": modalities,
        }
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, temporary / "model.safetensors")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "MultimodalEncoder":
        """Rebuilds an encoder from its folder, with no pickle on the way.

        Raises:
            UserError: if a file is missing or names a class outside the modalities' package.
        """
        folder = Path(folder)
        for file in ("config.json", "model.safetensors"):
            if not (folder / file).is_file():
                raise UserError(f"{folder}: no {file}, so it is no encoder folder; give the `encoder` folder of a run")
        config = json.loads((folder / "config.json").read_text())
        if config.get("format") != _FORMAT:
            raise UserError(f"{folder / 'config.json'}: format {config.get('format')!r}, this release reads {_FORMAT}")
        modalities = {
            name: _modality_class(entry["type"], folder).load(entry["settings"], folder)
            for name, entry in config["modalities"].items()
        }
        fusion = config["fusion"]
        encoder = cls(modalities, config["width"], fusion_layers=fusion["layers"], dropout=fusion["dropout"])
        load_weights(encoder, folder / "model.safetensors")
        return encoder.eval()


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads a safetensors file; every name and shape must fit.

    Raises:
        UserError: if the file is damaged, or of another model.
    """
    try:
        module.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path}: not readable as safetensors ({error}); copy the folder again") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise UserError(f"{path}: its weights do not fit the config beside it:{first[0]}") from error


def _modality_class(path: str, folder: Path) -> type[Modality]:
    """Only our own modality classes may be named by a folder that came from outside."""
    if not path.startswith(_MODALITIES):
        raise UserError(f"{folder / 'config.json'}: modality type {path!r} is not under {_MODALITIES}*")
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, Modality)):
        raise UserError(f"{folder / 'config.json'}: {path!r} is no modality")
    return found
