"""Tiles a second from each packed form, beside a plain `Dataset` over JPEG files, with the same training transforms.

`python scripts/bench/streaming.py` writes 256×256 tiles as JPEG files, packs them in the project's own form and in that
of every library installed (`pip install litdata webdataset` for all), and streams each through a `DataLoader` with two
workers, resized and turned as `Pathology` does in training. Passes of the forms alternate; medians are compared. The
tiles are those of the real cohort under `--data`, drawn where that is absent.
"""

import argparse
import importlib.util
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from foundation.data import synthetic
from foundation.data.store import ImageStore, ImageWriter
from foundation.modalities.pathology.encoder import Pathology

SIDE, BATCH, WORKERS, AHEAD = 256, 32, 2, 4
PER_PATIENT = 8
PLAIN, OWN = "JPEG files, plain Dataset", "foundation.data.store"
Tile = NDArray[np.uint8]


def draw(count: int) -> Iterator[bytes]:
    """H&E-like tiles as JPEG: the embedded cohort's texture, sixteen of its tiles side by side."""
    rng, few = np.random.default_rng(0), SIDE // 64
    for _ in range(count):
        factors = rng.normal(size=len(synthetic.FACTORS))
        parts = [synthetic.draw_tile(factors, synthetic.SITES[0], rng) for _ in range(few * few)]
        rows = [np.concatenate(parts[row * few : (row + 1) * few], axis=1) for row in range(few)]
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(buffer, format="JPEG", quality=90)
        yield buffer.getvalue()


def decode(source: Any) -> Tile:
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def from_bytes(content: Any, raw: bool) -> Tile:
    return np.frombuffer(content, np.uint8).reshape(SIDE, SIDE, 3) if raw else decode(io.BytesIO(content))


def to_bytes(file: Path, raw: bool) -> bytes:
    return decode(file).tobytes() if raw else file.read_bytes()


class Tiles(Dataset[Tensor]):
    """Items of some tiles each, `[tiles, height, width, 3]`, as training sees them."""

    def __init__(self, count: int, read: Callable[[int], Tile], size: int) -> None:
        self.count, self.read = count, read
        self.images = Pathology(8, backbone="test_resnet", size=size, max_images=PER_PATIENT)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.show(self.read(index), index)

    def show(self, tiles: Tile, seed: int) -> Tensor:
        return self.images.transform(tiles, torch.Generator().manual_seed(seed))["images"]


class Stream(IterableDataset[Tensor]):
    """The same from a library that deals out the tiles itself."""

    def __init__(self, source: Any, read: Callable[[Any], Tile], size: int) -> None:
        self.source, self.read, self.tiles = source, read, Tiles(0, read, size)

    def __iter__(self) -> Iterator[Tensor]:
        for number, item in enumerate(self.source):
            yield self.tiles.show(self.read(item)[None], number)


def plain(files: list[Path], size: int, per: int = 1) -> Dataset[Tensor]:
    def read(index: int) -> Tile:
        return np.stack([decode(file) for file in files[index * per : (index + 1) * per]])

    return Tiles(len(files) // per, read, size)


def ours(files: list[Path], folder: Path, size: int, per: int = 1) -> Dataset[Tensor]:
    with ImageWriter(folder, "tiles") as writer:
        for file in files:
            writer.add(decode(file)[None])
    store = ImageStore(folder, "tiles")
    return Tiles(len(files) // per, lambda index: store.read(range(index * per, (index + 1) * per)), size)


def datasets(files: list[Path], folder: Path, raw: bool, size: int) -> Dataset[Tensor]:
    from datasets import Dataset as Arrow
    from datasets import Features, Value
    from datasets.arrow_writer import ArrowWriter

    with ArrowWriter(path=str(folder / "0.arrow"), features=Features({"tile": Value("binary")})) as writer:
        for file in files:
            writer.write({"tile": to_bytes(file, raw)})
        writer.finalize()
    table = Arrow.from_file(str(folder / "0.arrow")).with_format("arrow")
    return Tiles(len(files), lambda index: from_bytes(table[index]["tile"][0].as_buffer(), raw)[None], size)


def litdata(files: list[Path], folder: Path, raw: bool, size: int) -> IterableDataset[Tensor]:
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for index, file in enumerate(files):
        writer.add_item(index, to_bytes(file, raw))
    writer.done()
    writer.merge()
    return Stream(StreamingDataset(str(folder), shuffle=True), lambda item: from_bytes(item, raw), size)


def webdataset(files: list[Path], folder: Path, raw: bool, size: int) -> IterableDataset[Tensor]:
    import webdataset as wds

    with wds.ShardWriter(str(folder / "%05d.tar"), maxcount=len(files) // 8, verbose=0) as writer:
        for index, file in enumerate(files):
            writer.write({"__key__": f"{index:06d}", "bin": to_bytes(file, raw)})
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    source = wds.WebDataset(shards, shardshuffle=100, seed=0).shuffle(256)
    return Stream(source, lambda item: from_bytes(item["bin"], raw), size)


def tiles_a_second(dataset: Any, per: int) -> float:
    """Of one pass, from when all workers have delivered: their start is paid once a run."""
    mapped = not isinstance(dataset, IterableDataset)
    loader = DataLoader(dataset, BATCH // per, shuffle=mapped, num_workers=WORKERS, prefetch_factor=AHEAD)
    seen, started = 0, 0.0
    for number, batch in enumerate(loader):
        seen += len(batch) * per
        if number == WORKERS * AHEAD:
            seen, started = 0, time.perf_counter()
    return seen / (time.perf_counter() - started)


def compare(sources: dict[str, Any], sizes: dict[str, float], repeats: int, per: int) -> float:
    """Prints a table; returns how many times faster than the plain `Dataset` our form is."""
    speed: dict[str, list[float]] = {label: [] for label in sources}
    for _ in range(repeats):
        for label, dataset in sources.items():
            speed[label].append(tiles_a_second(dataset, per))
    ratios = {label: [one / base for one, base in zip(speed[label], speed[PLAIN], strict=True)] for label in speed}
    print(f"\n{f'tiles an item: {per}':28}{'tiles/s':>9}{'× plain':>9}{'from':>7}{'to':>7}{'bytes a tile':>14}")
    for label, quotients in ratios.items():
        middle = f"{statistics.median(speed[label]):9.0f}{statistics.median(quotients):9.2f}"
        print(f"{label:28}{middle}{min(quotients):7.2f}{max(quotients):7.2f}{sizes[label]:14,.0f}", flush=True)
    return statistics.median(ratios[OWN])


def write_jpeg(folder: Path, real: Path, count: int) -> list[Path]:
    folder.mkdir()
    tiles = sorted(real.glob("*.jpg"))
    print(f"{count} tiles: {f'{len(tiles)} of {real}, in turn' if tiles else 'drawn'}", flush=True)
    for index, content in enumerate(draw(count) if not tiles else [None] * count):
        file = folder / f"{index:06d}.jpg"
        shutil.copy(tiles[index % len(tiles)], file) if content is None else file.write_bytes(content)
    return sorted(folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CONSILIUM_DATA", "../shared/data"))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224, help="to which tiles are resized; 256: not at all")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        root = Path(name)
        files = write_jpeg(root / "jpeg", Path(arguments.data) / "tcga_glioma" / "he", arguments.count)
        folders = {PLAIN: root / "jpeg", OWN: root / "ours"}
        folders[OWN].mkdir()
        sources: dict[str, Any] = {PLAIN: plain(files, arguments.size), OWN: ours(files, folders[OWN], arguments.size)}
        for pack in (datasets, litdata, webdataset):
            if importlib.util.find_spec(pack.__name__) is None:
                print(f"{pack.__name__}: not installed, left out")
                continue
            for kind in ("JPEG", "raw"):
                label = f"{pack.__name__}, {kind}"
                folders[label] = root / label
                folders[label].mkdir()
                sources[label] = pack(files, folders[label], kind == "raw", arguments.size)
        sizes = {
            label: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / len(files)
            for label, folder in folders.items()
        }
        single = compare(sources, sizes, arguments.repeats, 1)
        patients = {
            PLAIN: plain(files, arguments.size, PER_PATIENT),
            OWN: ours(files, folders[OWN], arguments.size, PER_PATIENT),
        }
        several = compare(patients, sizes, arguments.repeats, PER_PATIENT)
        print(f"\nbar: 2 × a plain Dataset over JPEG files; tile by tile {single:.2f}")
        print(f"by patient, as training draws them, {PER_PATIENT} tiles each: {several:.2f}")


if __name__ == "__main__":
    main()
