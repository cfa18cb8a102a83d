import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.arrays import read_arrays, write_arrays
from foundation.errors import UserError
from foundation.files import read_json, replacing, replacing_folder, write_bytes, write_json, write_text
from foundation.tensors import load_weights, read_tensors, write_tensors


def test_replacing_keeps_the_old_file_and_leaves_nothing_where_writing_fails(tmp_path: Path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_replacing_gives_permissions_from_the_first_byte_on(tmp_path: Path):
    path = tmp_path / "key"
    with replacing(path, 0o600) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600
        temporary.write_text("secret")
    assert path.stat().st_mode & 0o777 == 0o600
    write_bytes(path, b"open", 0o644)
    assert path.stat().st_mode & 0o777 == 0o644


def test_replacing_folder_takes_the_old_ones_place_or_leaves_it(tmp_path: Path):
    folder = tmp_path / "bundle"
    with replacing_folder(folder) as temporary:
        (temporary / "a").touch()
    with replacing_folder(folder) as temporary:
        (temporary / "b").touch()
    assert [path.name for path in folder.iterdir()] == ["b"]
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as temporary:
        raise ZeroDivisionError
    assert [path.name for path in folder.iterdir()] == ["b"] and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "a.json: missing; write it again"),
        (b"{", r"a.json: not readable as JSON \(.*\); write it again"),
        (b"\xff\xfe{", r"a.json: not readable as JSON \(.*\); write it again"),
        (b"[1]", "a.json: found a list, not an object; write it again"),
        (b"{}", "a.json: holds no 'rounds'; write it again"),
    ],
)
def test_read_json_refuses_in_one_line(tmp_path: Path, content: bytes | None, line: str):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=line):
        read_json(path, "write it again", "rounds")


def test_json_is_sorted_unless_its_order_means_something(tmp_path: Path):
    content = {"b": 1, "a": Path("x")}
    write_json(tmp_path / "sorted.json", content)
    write_json(tmp_path / "kept.json", content, sort_keys=False)
    assert list(read_json(tmp_path / "sorted.json", "")) == ["a", "b"]
    assert list(read_json(tmp_path / "kept.json", "")) == ["b", "a"]


def test_arrays_and_tensors_come_back_whatever_their_layout(tmp_path: Path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_arrays(tmp_path / "a.safetensors", {"turned": matrix.T, "scalar": np.float32(2.0)})
    arrays = read_arrays(tmp_path / "a.safetensors", "")
    np.testing.assert_array_equal(arrays["turned"], matrix.T)
    assert arrays["scalar"] == 2.0
    write_tensors(tmp_path / "b.safetensors", {"turned": torch.from_numpy(matrix).T.requires_grad_()})
    torch.testing.assert_close(read_tensors(tmp_path / "b.safetensors", "")["turned"], torch.from_numpy(matrix.T))


@pytest.mark.parametrize("read", [read_arrays, read_tensors])
def test_damaged_safetensors_are_one_line(tmp_path: Path, read):
    for content in (None, b"cut"):
        if content is not None:
            (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"a.safetensors: not readable as safetensors \(.*\); copy it again"):
            read(tmp_path / "a.safetensors", "copy it again")


def test_weights_of_another_module_are_one_line(tmp_path: Path):
    write_tensors(tmp_path / "a.safetensors", torch.nn.Linear(2, 3).state_dict())
    with pytest.raises(UserError, match="its weights do not fit the config beside it:"):
        load_weights(torch.nn.Linear(3, 3), tmp_path / "a.safetensors")


@pytest.mark.parametrize("module", ["files", "run_record", "command", "polling", "ports"])
def test_modules_that_servers_share_import_neither_torch_nor_numpy(module: str):
    code = f"import sys, foundation.{module}; sys.exit(len({{'torch', 'numpy'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
