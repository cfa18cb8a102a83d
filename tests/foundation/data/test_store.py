"""The packed form: what is written is what is read, whatever the order; damage is named, never handed on."""

import json
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.data import store
from foundation.data.problems import DataError
from foundation.data.storage import StoredImages
from foundation.data.store import ImageStore, ImageWriter

SHARD = 3 * 16 * 16 * 4  # four small tiles


def tiles(count: int, side: int = 16, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_BATCH_BYTES", 2 * 3 * 16 * 16)


@pytest.fixture
def written(tmp_path: Path) -> NDArray[np.uint8]:
    images = tiles(11)
    with ImageWriter(tmp_path, "pathology", SHARD) as writer:
        assert [writer.add(images[:5]), writer.add(images[5:])] == [(0, 5), (5, 6)]
    return images


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_files_are_of_bounded_size_and_plain_arrow(written, tmp_path):
    assert list(contents(tmp_path)) == [*(f"pathology-0000{n}.arrow" for n in range(3)), "pathology.json"]
    listed = json.loads((tmp_path / "pathology.json").read_text())
    assert [shard["rows"] for shard in listed["shards"]] == [4, 4, 3]
    second = Dataset.from_file(str(tmp_path / "pathology-00001.arrow"))
    assert second[0]["data"] == written[4].tobytes() and second[0]["shape"] == [16, 16, 3]


@given(order=st.lists(st.integers(0, 10), min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_in_the_order_asked_for(written, tmp_path, order):
    found = ImageStore(tmp_path, "pathology")
    assert len(found) == 11
    np.testing.assert_array_equal(found.read(order), written[order])


@given(cuts=st.lists(st.integers(0, 11), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_the_files_do_not_depend_on_how_rows_are_added(written, tmp_path, cuts):
    (tmp_path / "other").mkdir(exist_ok=True)
    with ImageWriter(tmp_path / "other", "pathology", SHARD) as writer:
        for part in np.split(written, sorted(cuts)):
            writer.add(part)
    mine = {name: data for name, data in contents_of_files(tmp_path).items() if name.startswith("pathology")}
    assert contents(tmp_path / "other") == mine


def contents_of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_features_keep_their_type(tmp_path, kind):
    features = np.random.default_rng(0).normal(size=(7, 20)).astype(kind)
    with ImageWriter(tmp_path, "features") as writer:
        writer.add(features)
    found = ImageStore(tmp_path, "features")
    assert found.dtype == kind
    np.testing.assert_array_equal(found.read([6, 0]), features[[6, 0]])


def test_rows_of_several_sizes_are_read_one_by_one_but_not_as_one_array(tmp_path):
    small, large = tiles(2), tiles(3, 24)
    with ImageWriter(tmp_path, "pathology") as writer:
        writer.add(small)
        writer.add(large)
    found = ImageStore(tmp_path, "pathology")
    np.testing.assert_array_equal(found.read([4, 2]), large[[2, 0]])
    with pytest.raises(ValueError, match=r"rows of shapes \[16, 16, 3\] and others"):
        found.read([1, 2])
    first, second = found.rows([1, 2])
    np.testing.assert_array_equal(first, small[1])
    np.testing.assert_array_equal(second, large[0])


def test_a_store_holds_one_type_of_values(tmp_path):
    with pytest.raises(ValueError, match="float32 cannot follow uint8"), ImageWriter(tmp_path, "a") as writer:
        writer.add(tiles(1))
        writer.add(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="int64 cannot follow None"), ImageWriter(tmp_path, "a") as writer:
        writer.add(np.zeros((1, 4), np.int64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("indices", [[11], [-1], [0, 99]])
def test_positions_outside_the_store_are_an_error(written, tmp_path, indices):
    with pytest.raises(IndexError, match="rows 11"):
        ImageStore(tmp_path, "pathology").read(indices)
    with pytest.raises(ValueError, match="positions"):
        ImageStore(tmp_path, "pathology").read([])


def test_an_error_while_writing_leaves_the_earlier_store(written, tmp_path):
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError), ImageWriter(tmp_path, "pathology", SHARD) as writer:
        writer.add(tiles(9, seed=1))
        raise ZeroDivisionError
    assert contents(tmp_path) == before


def test_a_shorter_store_replaces_a_longer_one_and_no_other(written, tmp_path):
    for name in ("pathology-old", "pathology"):
        with ImageWriter(tmp_path, name, SHARD) as writer:
            writer.add(written[:3])
    assert list(contents(tmp_path)) == [
        "pathology-00000.arrow",
        "pathology-old-00000.arrow",
        "pathology-old.json",
        "pathology.json",
    ]
    np.testing.assert_array_equal(ImageStore(tmp_path, "pathology").read([2]), written[2:3])


def test_an_empty_store_is_a_store(tmp_path):
    with ImageWriter(tmp_path, "pathology"):
        pass
    assert len(ImageStore(tmp_path, "pathology")) == 0


def read_row(opened: ImageStore, index: int) -> bytes:
    return opened.read([index]).tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_reads_the_same(written, tmp_path, method):
    opened = ImageStore(tmp_path, "pathology")
    opened.read([0])
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.starmap(read_row, [(opened, index) for index in (7, 2)])
    assert found == [written[7].tobytes(), written[2].tobytes()]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened)).read([3]), written[[3]])  # noqa: S301


def test_a_patients_images_are_like_an_array_and_only_those_indexed_are_read(written, tmp_path, monkeypatch):
    opened = ImageStore(tmp_path, "pathology")
    asked = []
    read = opened.read
    monkeypatch.setattr(opened, "read", lambda indices: asked.append(list(indices)) or read(indices))
    own = StoredImages(opened, 3, 6)
    assert len(own) == 6 and own.dtype == np.uint8
    np.testing.assert_array_equal(own[np.array([4, 0])], written[[7, 3]])
    np.testing.assert_array_equal(own[:2], written[3:5])
    np.testing.assert_array_equal(own[-1], written[8])
    assert asked == [[7, 3], [3, 4], [8]]
    np.testing.assert_array_equal(np.asarray(own), written[3:9])
    np.testing.assert_array_equal(np.stack(list(own)), written[3:9])
    assert own.shape == (6, 16, 16, 3)


def shard(folder: Path, number: int = 1) -> Path:
    return folder / f"pathology-0000{number}.arrow"


def flip(folder: Path, at: float) -> None:
    content = bytearray(shard(folder).read_bytes())
    content[int(at * len(content))] ^= 0xFF
    shard(folder).write_bytes(content)


def flip_pixel(folder: Path) -> None:
    """In the second row of the second file."""
    row = Dataset.from_file(str(shard(folder)))[1]["data"]
    content = bytearray(shard(folder).read_bytes())
    content[content.index(row) + 5] ^= 1
    shard(folder).write_bytes(content)


def change(**fields: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        listed = json.loads((folder / "pathology.json").read_text())
        (folder / "pathology.json").write_text(json.dumps(listed | fields))

    return spoil


def change_shard(**fields: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        listed = json.loads((folder / "pathology.json").read_text())
        listed["shards"][1] |= fields
        (folder / "pathology.json").write_text(json.dumps(listed))

    return spoil


def another_table(folder: Path) -> None:
    table = pa.table({"data": [b"x"] * 4})
    with pa.OSFile(str(shard(folder)), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    change_shard(bytes=shard(folder).stat().st_size)(folder)


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no table of contents": (lambda folder: (folder / "pathology.json").unlink(), r"pathology\.json: missing; prepare"),
    "empty table of contents": (lambda folder: (folder / "pathology.json").write_text(""), r"pathology\.json: .*JSON"),
    "no JSON": (lambda folder: (folder / "pathology.json").write_bytes(b"\xff\xfe{"), r"pathology\.json: .*JSON"),
    "a list": (lambda folder: (folder / "pathology.json").write_text("[]"), r"pathology\.json: .*object"),
    "a later format": (change(format=2), r"pathology\.json: field format: .*\(2\)"),
    "an unknown type": (change(type="object"), r"pathology\.json: field type: .*\(object\)"),
    "a field too many": (change(more=1), r"pathology\.json: field more: "),
    "a file elsewhere": (change_shard(file="../x.arrow"), r"field shards\.1\.file: .*\(\.\./x\.arrow\)"),
    "no rows": (change_shard(rows=0), r"field shards\.1\.rows: .*\(0\)"),
    "rows as text": (change_shard(rows="many"), r"field shards\.1\.rows: .*\(many\)"),
    "fewer rows than listed": (change_shard(rows=5), r"pathology\.json: .*pathology-00001\.arrow: 4 rows"),
    "missing file": (lambda folder: shard(folder).unlink(), r"pathology-00001\.arrow: missing"),
    "a folder": (
        lambda folder: (shard(folder).unlink(), shard(folder).mkdir()),
        r"pathology-00001\.arrow: missing",
    ),
    "empty file": (lambda folder: shard(folder).write_bytes(b""), r"-00001\.arrow: holds 0 bytes where \d+ were"),
    "truncated": (
        lambda folder: shard(folder).write_bytes(shard(folder).read_bytes()[:-700]),
        r"-00001\.arrow: holds \d+ bytes where \d+ were written",
    ),
    "grown": (lambda folder: shard(folder).open("ab").write(b"x"), r"-00001\.arrow: holds \d+ bytes where"),
    "another file of its length": (
        lambda folder: shard(folder).write_bytes(b"\0" * shard(folder).stat().st_size),
        r"pathology\.json: its Arrow files are damaged",
    ),
    "another table": (another_table, r"its Arrow files are damaged .*4 rows of \['data'\]"),
    "a changed pixel": (flip_pixel, r"pathology\.json: row 5, field data: bytes differ from those written"),
    "a changed header": (lambda folder: flip(folder, 0.001), r"pathology\.json: "),
    "another type than written": (change(type="float16"), r"pathology\.json: row 0, field data: bytes differ"),
}


@pytest.mark.parametrize(("spoil", "line"), CORRUPT.values(), ids=CORRUPT)
def test_damage_is_one_line(written, tmp_path, spoil, line):
    spoil(tmp_path)
    with pytest.raises(DataError, match=line) as caught:
        opened = ImageStore(tmp_path, "pathology")
        for index in range(11):
            opened.read([index])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/pathology")
    assert str(caught.value).endswith("; prepare the cohort again")


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(written, tmp_path, at, bit):
    whole = shard(tmp_path).read_bytes()
    content = bytearray(whole)
    content[int(at * len(content))] ^= 1 << bit
    shard(tmp_path).unlink()  # other readers may have it mapped
    shard(tmp_path).write_bytes(content)
    try:
        np.testing.assert_array_equal(ImageStore(tmp_path, "pathology").read(range(11)), written)
    except DataError:
        pass
    finally:
        shard(tmp_path).unlink()
        shard(tmp_path).write_bytes(whole)
