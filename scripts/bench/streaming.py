"""Tiles a second from each packed form, beside a plain `Dataset` over JPEG files, with the same training transforms.

`python scripts/bench/streaming.py` writes tiles as JPEG files, packs them in every form whose library is installed
(`pip install litdata webdataset` for all), and streams each through a `DataLoader` with two workers. Passes of the
forms alternate, medians are compared. `--tiles FOLDER` takes 256×256 JPEG files instead of drawn ones.
"""

import argparse
import importlib.util
import io
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
from foundation.modalities.pathology import Pathology

SIDE, BATCH, WORKERS = 256, 32, 2
Tile = NDArray[np.uint8]


def draw(count: int) -> Iterator[Tile]:
    """H&E-like tiles, `[256, 256, 3]`: the embedded cohort's texture at four times its size."""
    rng, patch = np.random.default_rng(0), synthetic._SIDE
    for _ in range(count):
        factors = rng.normal(size=len(synthetic.FACTORS))
        parts = [synthetic.draw_tile(factors, synthetic.SITES[0], rng) for _ in range((SIDE // patch) ** 2)]
        rows = [np.concatenate(parts[i : i + SIDE // patch], axis=1) for i in range(0, len(parts), SIDE // patch)]
        yield np.concatenate(rows, axis=0)


def decode(source: Any) -> Tile:
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def encode(tile: Tile) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


class Transformed(Dataset[Tensor]):
    """One tile an item, read by `read`, as training sees it."""

    def __init__(self, count: int, read: Callable[[int], Tile], size: int) -> None:
        self.count, self.read, self.transform = count, read, Transform(size)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.read(index), index)


class Transform:
    """The training transform of `Pathology`: resize, turn, flip, colour."""

    def __init__(self, size: int) -> None:
        self.images = Pathology(8, backbone="test_resnet", size=size)

    def __call__(self, tile: Tile, seed: int) -> Tensor:
        return self.images.transform(tile[None], torch.Generator().manual_seed(seed))["images"]


class Stream(IterableDataset[Tensor]):
    """The same over a library that streams."""

    def __init__(self, source: Any, read: Callable[[Any], Tile], size: int) -> None:
        self.source, self.read, self.transform = source, read, Transform(size)

    def __iter__(self) -> Iterator[Tensor]:
        for number, item in enumerate(self.source):
            yield self.transform(self.read(item), number)


class Feed(Dataset[bytes | Tile]):
    def __init__(self, files: list[Path], raw: bool) -> None:
        self.files, self.raw = files, raw

    def __getitem__(self, index: int) -> bytes | Tile:
        return decode(self.files[index]) if self.raw else self.files[index].read_bytes()


def plain(files: list[Path], folder: Path, raw: bool, size: int) -> Dataset[Tensor]:
    return Transformed(len(files), lambda index: decode(files[index]), size)


def arrow(files: list[Path], folder: Path, raw: bool, size: int) -> Dataset[Tensor]:
    """HF Datasets: Arrow files, read by memory map."""
    from datasets import Dataset as Arrow
    from datasets import Features, Value
    from datasets.arrow_writer import ArrowWriter

    feed = Feed(files, raw)
    with ArrowWriter(path=str(folder / "0.arrow"), features=Features({"tile": Value("binary")})) as writer:
        for index in range(len(files)):
            content = feed[index]
            writer.write({"tile": content.tobytes() if isinstance(content, np.ndarray) else content})
        writer.finalize()
    table = Arrow.from_file(str(folder / "0.arrow")).with_format("arrow")

    def read(index: int) -> Tile:
        value = table[index]["tile"][0].as_buffer()
        return np.frombuffer(value, np.uint8).reshape(SIDE, SIDE, 3) if raw else decode(io.BytesIO(value))

    return Transformed(len(files), read, size)


def litdata(files: list[Path], folder: Path, raw: bool, size: int) -> Any:
    """LitData: chunks with an index of their own."""
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    feed = Feed(files, raw)
    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for index in range(len(files)):
        content = feed[index]
        writer.add_item(index, content.tobytes() if isinstance(content, np.ndarray) else content)
    writer.done()
    writer.merge()
    return Stream(
        StreamingDataset(str(folder), shuffle=True),
        lambda value: np.frombuffer(value, np.uint8).reshape(SIDE, SIDE, 3) if raw else decode(io.BytesIO(value)),
        size,
    )


def webdataset(files: list[Path], folder: Path, raw: bool, size: int) -> Any:
    """WebDataset: tar files, one after the other, shuffled in a buffer."""
    import webdataset as wds

    feed = Feed(files, raw)
    with wds.ShardWriter(str(folder / "%05d.tar"), maxcount=len(files) // 8, verbose=0) as writer:
        for index in range(len(files)):
            content = feed[index]
            writer.write({"__key__": f"{index:06d}", "bin": content.tobytes() if raw else content})
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    source = wds.WebDataset(shards, shardshuffle=100, seed=0).shuffle(256)
    return Stream(
        source,
        lambda item: (
            np.frombuffer(item["bin"], np.uint8).reshape(SIDE, SIDE, 3) if raw else decode(io.BytesIO(item["bin"]))
        ),
        size,
    )


FORMS = {"datasets": arrow, "litdata": litdata, "webdataset": webdataset}


def tiles_a_second(dataset: Any) -> float:
    """Of one pass; the workers' start is not counted, as it is paid once an epoch."""
    mapped = not isinstance(dataset, IterableDataset)
    loader = DataLoader(dataset, BATCH, shuffle=mapped, num_workers=WORKERS, prefetch_factor=4)
    batches = iter(loader)
    seen, started = 0, 0.0
    for number, batch in enumerate(batches):
        if number == 2 * WORKERS:
            started = time.perf_counter()
        elif number > 2 * WORKERS:
            seen += len(batch)
    return seen / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path, help="folder of 256x256 JPEG files; drawn if not given")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as name:
        root = Path(name)
        (root / "jpeg").mkdir()
        if given.tiles:
            found = sorted(given.tiles.glob("*.jpg"))
            for index in range(given.count):
                shutil.copy(found[index % len(found)], root / "jpeg" / f"{index:06d}.jpg")
        else:
            for index, tile in enumerate(draw(given.count)):
                (root / "jpeg" / f"{index:06d}.jpg").write_bytes(encode(tile))
        files = sorted((root / "jpeg").iterdir())
        sources = {"JPEG files, plain Dataset": plain(files, root, False, given.size)}
        sizes = {"JPEG files, plain Dataset": root / "jpeg"}
        for library, pack in FORMS.items():
            if importlib.util.find_spec(library) is None:
                print(f"{library}: not installed, left out")
                continue
            for raw in (False, True):
                label = f"{library}, {'raw' if raw else 'JPEG'}"
                sizes[label] = root / label.replace(", ", "_")
                sizes[label].mkdir()
                sources[label] = pack(files, sizes[label], raw, given.size)
        speed: dict[str, list[float]] = {label: [] for label in sources}
        for _ in range(given.repeats):
            for label, dataset in sources.items():
                speed[label].append(tiles_a_second(dataset))
        reference = statistics.median(speed["JPEG files, plain Dataset"])
        print(f"{'form':30}{'tiles/s':>9}{'ratio':>8}{'bytes/tile':>12}")
        for label, values in speed.items():
            size = sum(path.stat().st_size for path in sizes[label].rglob("*") if path.is_file()) / len(files)
            print(f"{label:30}{statistics.median(values):9.0f}{statistics.median(values) / reference:8.2f}{size:12.0f}")


if __name__ == "__main__":
    main()
