"""A model's folder as arrays of bytes that travel with a question, and back into a folder of the site's own.

No pickle is among the files, and the names of classes in them are held to this project's own when they are loaded.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.files import replacing_folder

MODELS = "models"  # in a site's own folder
_MANIFEST, _FILE = "manifest", "file."
_LONGEST = 1 << 20  # bytes of the list of names
_NAME = re.compile(r"(encoder/)?([A-Za-z0-9_-]+/)?[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(json|safetensors|txt|gmt|model)")
_HEAD = ("task.json", "head.safetensors")
_BESIDE = ("reliability.safetensors", "subsets.safetensors")  # as `finetune.predictor` calls them; not of every model
_ENCODER = ("config.json", "model.safetensors")

Files = dict[str, NDArray[np.uint8]]


def packed(folder: Path) -> Files:
    """The files of a task model.

    Raises:
        UserError: if it is none, or has a file that no task model has.
    """
    for name in _HEAD:
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: no {name}, so it is no task model; give the output folder of python -m finetune"
            )
    names = [*_HEAD, *(name for name in _BESIDE if (folder / name).is_file())]
    return {name: np.fromfile(folder / name, dtype=np.uint8) for name in names} | packed_encoder(folder / "encoder")


def packed_encoder(folder: Path) -> Files:
    """The files of an encoder folder.

    Raises:
        UserError: if it is none, or has a file that no encoder has.
    """
    files: Files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = f"encoder/{path.relative_to(folder).as_posix()}"
        if not _NAME.fullmatch(name):
            raise UserError(f"{path}: no file of a model; move it away")
        files[name] = np.fromfile(path, dtype=np.uint8)
    for name in _ENCODER:
        if f"encoder/{name}" not in files:
            raise UserError(f"{folder}: no {name}, so it is no encoder folder; give the `encoder` folder of a run")
    return files


def digest_of_files(files: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names and content.

    Raises:
        UserError: if a name is none of a model's files.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        if not _NAME.fullmatch(name) or content.dtype != np.uint8 or content.ndim != 1:
            raise UserError("model: a file came that no model has; install one release everywhere")
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def unpacked(files: Mapping[str, NDArray[Any]], home: Path) -> Path:
    """The folder of a model that came, under its digest; one that lies there already is taken as it is.

    Args:
        files: that came.
        home: of the site's models.

    Raises:
        UserError: if a name is none of a model's files.
    """
    folder = home / digest_of_files(files)
    if not folder.is_dir():
        with replacing_folder(folder) as temporary:
            for name, content in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                np.ascontiguousarray(content).tofile(path)
    return folder


def to_question(files: Mapping[str, NDArray[Any]]) -> Files:
    """Files as arrays of a message: a list of their names, and each under its number."""
    names = json.dumps(sorted(files)).encode()
    arrays = {f"{_FILE}{place}": files[name] for place, name in enumerate(sorted(files))}
    return {_MANIFEST: np.frombuffer(names, dtype=np.uint8), **arrays}


def of_question(arrays: Mapping[str, NDArray[Any]]) -> Files:
    """The way back; names are held to a model's files by `digest_of_files`.

    Raises:
        UserError: if the list of names cannot be read.
    """
    try:
        listed = arrays[_MANIFEST]
        names = json.loads(listed.tobytes()) if listed.dtype == np.uint8 and listed.size < _LONGEST else None
        return {str(name): arrays[f"{_FILE}{place}"] for place, name in enumerate(names)}  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError) as error:
        raise UserError("model: its list of files cannot be read; install one release everywhere") from error
