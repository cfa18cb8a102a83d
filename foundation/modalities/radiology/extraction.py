"""Scans for an image encoder: the slices that `prepare` would pack."""

from pathlib import Path
from typing import Any, cast

from foundation.data.extraction.contract import InMemory, Pictures, Reading
from foundation.data.image_files import read_image
from foundation.data.image_looks import files_of
from foundation.data.problems import Problems
from foundation.modalities.radiology.preparation import slice_settings
from foundation.modalities.radiology.scan import SliceSettings
from foundation.modalities.radiology.slices import Kind, read_slices


class RadiologyReading(Reading):
    """A scan becomes its slices, as declared: the encoder's microns per pixel say nothing of it."""

    def settings(self, source: Any, mpp: float | None, tile: int) -> SliceSettings:
        return slice_settings(source)

    def files(self, path: Path) -> list[Path]:
        return files_of(path)

    def open(self, path: Path, kind: str, settings: SliceSettings, problems: Problems) -> Pictures:
        if kind == "images":
            return InMemory(read_image(path, problems)[None])
        return InMemory(read_slices(path, cast(Kind, kind), settings, problems))


READING = RadiologyReading()
