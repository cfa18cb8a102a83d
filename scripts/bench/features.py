"""Tiles a second of feature extraction, beside the bare encoder's own forward pass.

`python scripts/bench/features.py` writes slides of synthetic tissue (tiled TIFF, zlib) and takes their features as
`python -m foundation.data features` does, from opened slide to HDF5 file: two processes with a thread each. Slide by
slide, the same processes pass ready batches of pixels through the same encoder, so that both rates see the same
machine; colours lie last in memory, which convolutions like best. Starting a process and loading the encoder are in
neither. On a machine that others share, processor time tells more than the clock. The bar: at least 0.9 of the bare
rate.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip
import numpy as np
import tifffile
import timm
import torch
from safetensors.torch import save_file

from foundation.data.extraction import work
from foundation.data.problems import Problems
from foundation.modalities.extractor import FeatureExtractor
from foundation.modalities.pathology.extraction import READING
from foundation.modalities.pathology.preparation import TileSource

_EOSIN, _HAEMATOXYLIN = (226, 140, 180), (120, 70, 150)
_BATCH = 32


def write_slide(path: Path, columns: int, rows: int, side: int, seed: int) -> None:
    """Tissue throughout, `columns` by `rows` tiles of `side` pixels at 0.5 microns per pixel."""
    rng = np.random.default_rng(seed)
    nuclei = np.kron(rng.random((rows * side // 8, columns * side // 8)) < 0.25, np.ones((8, 8), bool))
    picture = np.where(nuclei[..., None], np.uint8(_HAEMATOXYLIN), np.uint8(_EOSIN))
    noise = rng.integers(-4, 5, (side, side, 3), dtype=np.int8)
    picture = (picture.astype(np.int16) + np.tile(noise, (rows, columns, 1))).astype(np.uint8)
    resolution = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    options = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        for level in range(3):
            extra = {"subfiletype": 1} if level else resolution
            file.write(picture[:: 4**level, :: 4**level], **options, **extra)


def measure(folder: Path, slides: list[Path], number: int, barrier: Any, results: Any) -> None:
    """One process: for each of its slides a bare pass over as many tiles, and its extraction, in turn."""
    work.Worker(FeatureExtractor.load, folder / "extractor", _BATCH, threads=1, gpus=0)(number)
    assert work._READY is not None
    extractor: Any = work._READY.extractor
    size = extractor.pixel_settings.size
    pixels = torch.randn(_BATCH, 3, size, size).to(memory_format=torch.channels_last)
    settings = READING.settings(TileSource(files="*"), 0.5, extractor.tile)
    for index, slide in enumerate(slides):
        file = work.PictureFile(slide, "slides", "pathology", settings, folder / f"{slide.stem}.h5", {})
        with file.open(Problems()) as pictures:
            tiles = len(pictures.coords)
        for name in sorted(("bare", "extraction"), reverse=bool(index % 2)):
            barrier.wait()
            start, spent = time.perf_counter(), time.process_time()
            if name == "bare":
                _bare(extractor, pixels, tiles)
            else:
                _extract(folder, file)
            results.put((name, tiles, time.perf_counter() - start, time.process_time() - spent))


@torch.inference_mode()
def _bare(extractor: Any, pixels: torch.Tensor, tiles: int) -> None:
    for _ in range(tiles // _BATCH):
        extractor(pixels)
    if tiles % _BATCH:
        extractor(pixels[: tiles % _BATCH])


def _extract(folder: Path, file: work.PictureFile) -> None:
    problems = work.extract(folder / file.target.stem, [file])
    if problems:
        raise SystemExit(str(problems[0]))


def main() -> None:
    """Prints both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--slides", type=int, default=8, help="at least one a process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--backbone", default="mobilenetv2_100", help="of timm, with random weights")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_file(timm.create_model(arguments.backbone, num_classes=0).state_dict(), folder / "w.safetensors")
        extractor = FeatureExtractor(arguments.backbone, weights=str(folder / "w.safetensors"), mpp=0.5)
        extractor.save(folder / "extractor")
        rows = max(round((arguments.tiles / arguments.slides) ** 0.5), 1)
        columns = -(-arguments.tiles // (arguments.slides * rows))
        slides = [folder / f"{number}.tif" for number in range(arguments.slides)]
        for number, slide in enumerate(slides):
            write_slide(slide, columns, rows, extractor.tile, number)
        context = multiprocessing.get_context("spawn")
        barrier, results = context.Barrier(arguments.processes), context.Queue()
        processes = [
            context.Process(
                target=measure, args=(folder, slides[number :: arguments.processes], number, barrier, results)
            )
            for number in range(arguments.processes)
        ]
        for process in processes:
            process.start()
        taken = [results.get() for _ in range(2 * len(slides))]
        for process in processes:
            process.join()
    rates: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for kind in ("bare", "extraction"):
        tiles = sum(row[1] for row in taken if row[0] == kind)
        rates[kind] = tiles / sum(row[2] for row in taken if row[0] == kind) * arguments.processes
        cpu[kind] = sum(row[3] for row in taken if row[0] == kind) / tiles
    size, count = extractor.pixel_settings.size, arguments.processes
    print(f"{arguments.backbone} at {size} pixels, {tiles} tiles, {count} processes of one thread")
    print(json.dumps({name: round(rate, 1) for name, rate in rates.items()}))
    print(f"of processor time a tile, bare / extraction: {cpu['bare'] / cpu['extraction']:.3f}")
    print(f"extraction / bare forward: {rates['extraction'] / rates['bare']:.3f}")


if __name__ == "__main__":
    main()
