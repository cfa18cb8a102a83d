"""Pathology: H&E tiles, a token a tile."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from foundation.errors import UserError
from foundation.modalities.base import Inputs
from foundation.modalities.images import Images, ImageSet
from foundation.modalities.pathology.stain import draw_stain, match_stain, restain
from foundation.modalities.pathology.storage import SpottedImages

Reference = dict[str, list[float]]


class Pathology(ImageSet):
    """Tiles of a patient's slides or regions, RGB.

    Args:
        width: of the tokens.
        stain_jitter: strength of stain augmentation in training, the same for all tiles of a patient; 0.05 is light,
            0.2 strong, none by default.
        stain_reference: `mean` and `spread` of the amounts of haematoxylin, eosin and residual, three numbers each, or
            a YAML or JSON file with them: each patient's tiles are brought to these. As they are by default.
        images: see `ImageSet`.
    """

    name = "pathology"

    def __init__(
        self,
        width: int,
        stain_jitter: float = 0.0,
        stain_reference: Mapping[str, Any] | str | None = None,
        **images: Any,
    ) -> None:
        super().__init__(width, **images)
        self.stain_jitter = stain_jitter
        self.stain_reference = None if stain_reference is None else _read(stain_reference)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"stain_jitter": self.stain_jitter, "stain_reference": self.stain_reference}

    def transform(self, raw: Images, generator: torch.Generator | None) -> Inputs:
        inputs, kept = self.drawn(raw, generator)
        if isinstance(raw, SpottedImages):
            inputs["spots"] = torch.from_numpy(np.array(raw.spots[kept]))
        jitter = generator is not None and self.stain_jitter > 0
        if self.stain_reference is None and not jitter:
            return inputs
        gain, shift = torch.tensor([[1.0] * 3, [0.0] * 3])
        if self.stain_reference is not None:
            gain, shift = match_stain(inputs["images"], **self.stain_reference)
        if jitter:
            more, moved = draw_stain(1, self.stain_jitter, generator)[0]
            gain, shift = gain * more, shift * more + moved
        return inputs | {"stain": torch.stack([gain, shift]).expand(len(inputs["images"]), 2, 3)}

    def collate(self, patients: list[Inputs]) -> Inputs:
        """Patients without spots have NaN where others have expression."""
        genes = next((patient["spots"].shape[1] for patient in patients if "spots" in patient), None)
        if genes is None:
            return super().collate(patients)
        blank = [torch.full((len(patient["mask"]), genes), torch.nan) for patient in patients]
        return super().collate([{"spots": none, **patient} for none, patient in zip(blank, patients, strict=True)])

    def recolour(self, images: Tensor, drawn: Inputs) -> Tensor:
        return super().recolour(restain(images, drawn["stain"]) if "stain" in drawn else images, drawn)


def _read(source: Mapping[str, Any] | str) -> Reference:
    """The reference, checked.

    Raises:
        UserError: if the file cannot be read, or does not hold three numbers each.
    """
    place, content = "modality.pathology.stain_reference", source
    if isinstance(source, str):
        place = f"{source} ({place})"
        try:
            content = yaml.safe_load(Path(source).read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{place}: not readable ({error}); give a YAML or JSON file, or null") from error
    names = ("mean", "spread")
    if not isinstance(content, Mapping) or set(content) != set(names):
        raise UserError(f"{place}: mean and spread are wanted, found {content!r}; give both, or null")
    reference = {name: _three(content[name], f"{place}: {name}") for name in names}
    if min(reference["spread"]) <= 0:
        raise UserError(f"{place}: spread {reference['spread']} is not above 0; take it from statistics of tissue")
    return reference


def _three(values: Any, place: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: three numbers are wanted, found {values!r}; give them, or null") from error
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UserError(f"{place}: three numbers are wanted, found {values!r}; give them, or null")
    return numbers
