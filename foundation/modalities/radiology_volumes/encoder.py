"""Radiology volumes: a token a scan, from a residual network in three dimensions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.networks.nets.resnet import ResNet
from numpy.typing import NDArray
from torch import Tensor, nn

from foundation.data.dictionary import DataDictionary
from foundation.data.sampler import draw_images
from foundation.data.storage import StoredImages
from foundation.errors import UserError
from foundation.masks import laid_out, never_none, real
from foundation.modalities.base import Examined, Inputs, Modality, Tokens, Views, halves
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.modalities.radiology_volumes.request import VolumesForm
from foundation.modalities.radiology_volumes.storage import STORAGE

_BLOCKS: dict[int, tuple[str, list[int]]] = {
    10: ("basic", [1, 1, 1, 1]),
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
}
_GROUPS = 8
_NORM = ("group", {"num_groups": _GROUPS})


class GroupNormResNet(ResNet):
    """MONAI's residual network, normalised over groups of channels throughout."""

    def _make_layer(self, *stage: Any, **options: Any) -> nn.Sequential:
        # MONAI 1.6 hands `norm` to its first layer alone.
        layers: nn.Sequential = super()._make_layer(*stage, **options, norm=_NORM)
        return layers


class RadiologyVolumes(Modality):
    """Whole scans through MONAI's residual network (Hara et al. 2018; MONAI, Cardoso et al. 2022).

    Layers are normalised over groups of channels, so that nothing of a scan depends on who else is in the batch or on
    which hospital trained last.

    Args:
        width: of the tokens.
        grid: that scans are on, as `Grid` takes it; from the cohort's data dictionary.
        depth: of the network: 10, 18, 34 or 50.
        channels: of its first layer, a multiple of 8; each stage doubles them.
        max_scans: at most so many a patient; drawn at random in training, spread evenly otherwise.
        max_scans_inference: the same where a patient is predicted for: evaluation and serving look at more.
        contrast_jitter: largest relative gain and shift of brightness in training: scanners differ by hospital.
        drop_rate: of the network's features.
        pooling: of the scans to the embedding, `gated` or `transformer`.
    """

    name = STORAGE.name
    parts = "scans"
    several = True

    def __init__(
        self,
        width: int,
        grid: Mapping[str, Any],
        depth: int = 10,
        channels: int = 16,
        max_scans: int = 2,
        max_scans_inference: int = 16,
        contrast_jitter: float = 0.1,
        drop_rate: float = 0.0,
        pooling: str = "gated",
    ) -> None:
        super().__init__(width, pooling)
        if depth not in _BLOCKS:
            raise UserError(f"modality.{self.name}.depth: found {depth}; choose from {', '.join(map(str, _BLOCKS))}")
        if channels < _GROUPS or channels % _GROUPS:
            raise UserError(f"modality.{self.name}.channels: found {channels}; give a multiple of {_GROUPS}")
        self.grid = Grid.model_validate(grid)
        self.depth = depth
        self.channels = channels
        self.max_scans = max_scans
        self.max_scans_inference = max_scans_inference
        self.contrast_jitter = contrast_jitter
        self.drop_rate = drop_rate
        block, layers = _BLOCKS[depth]
        self.backbone = GroupNormResNet(
            block,
            layers,
            [channels * 2**stage for stage in range(len(layers))],
            spatial_dims=3,
            n_input_channels=self.grid.size[3],
            conv1_t_stride=2,
            feed_forward=False,
            norm=_NORM,
        )
        self.to_width = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(self.backbone.in_planes, width))

    @classmethod
    def needs(cls, dictionary: DataDictionary) -> dict[str, Any]:
        return {"grid": Grid.of(dictionary).model_dump(mode="json")}

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "grid": self.grid.model_dump(mode="json"),
            "depth": self.depth,
            "channels": self.channels,
            "max_scans": self.max_scans,
            "max_scans_inference": self.max_scans_inference,
            "contrast_jitter": self.contrast_jitter,
            "drop_rate": self.drop_rate,
        }

    def check_cohort(self, dictionary: DataDictionary, cohort: str) -> None:
        if Grid.of(dictionary) != self.grid:
            raise UserError(
                f"encoder: its radiology volumes are on a grid of {self.grid!r}, those of cohort {cohort} on one of "
                f"{Grid.of(dictionary)!r}; prepare the cohort with the dictionary that the encoder was pretrained on"
            )

    def request_form(self, dictionary: DataDictionary) -> VolumesForm:
        return VolumesForm(grid=self.grid)

    def transform(self, raw: NDArray[np.uint8] | StoredImages, generator: torch.Generator | None) -> Inputs:
        """Scans of one patient, `[scans, right, front, up, channels]` uint8, as `[kept, ...]` of the same.

        Raises:
            UserError: if they are on another grid.
        """
        if tuple(raw.shape[1:]) != self.grid.size:
            raise UserError(
                f"modality.{self.name}: scans of {tuple(raw.shape[1:])} voxels, the encoder's grid has "
                f"{self.grid.size}; prepare the cohort with the dictionary that the encoder was built for"
            )
        most = self.bound(self.max_scans, self.max_scans_inference, generator)
        kept = draw_images(len(raw), most, generator)
        scans = torch.from_numpy(np.ascontiguousarray(raw[kept]))
        inputs = {"scans": scans, "mask": torch.ones(len(kept), dtype=torch.bool)}
        if generator is None:
            return inputs
        drawn = self.contrast_jitter * (2 * torch.rand(2, generator=generator) - 1)
        return inputs | {"contrast": (drawn + torch.tensor([1.0, 0.0])).expand(len(kept), 2)}

    def examined(self, raw: NDArray[np.uint8] | StoredImages, inputs: Inputs) -> Examined:
        return super().examined(raw, inputs)._replace(of=len(raw))

    def blank(self) -> NDArray[np.uint8]:
        return np.zeros((1, *self.grid.size), dtype=np.uint8)

    def _voxels(self, inputs: Inputs) -> Tensor:
        """The real scans of all patients, `[scans, channels, right, front, up]` in -1 to 1."""
        mask = inputs["mask"]
        voxels = real(inputs["scans"], mask).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        if "contrast" in inputs:
            gain, shift = real(inputs["contrast"], mask).float()[..., None, None, None, None].unbind(1)
            voxels = voxels * gain + shift
        return voxels.to(next(self.to_width.parameters()).dtype)

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        # Only real scans pass through the network; padding takes its place afterwards.
        features = self.to_width(never_none(self.backbone, self._voxels(inputs)))
        return Tokens(laid_out(features, mask), mask)

    def views(self, inputs: Inputs, tokens: Tokens) -> Views:
        """Two halves of a patient's scans: no scan is in both."""
        return halves(tokens)
