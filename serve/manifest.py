"""The digests of a bundle's files: written on export, held against the files before any of them is read."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json, write_json

FILE = "manifest.json"
SIGNATURE = "manifest.sig"  # see `serve.signature`
FHIR = "fhir.json"  # of a bundle that takes FHIR: what of it is which part of a request
MODEL = "model"  # folder of a bundle: encoder, head and task


def digests(folder: Path) -> dict[str, str]:
    """By relative path, SHA-256 of every file under a folder but the manifest and its signature at its top.

    Raises:
        UserError: on a link to a folder, which is not gone through, so what lies there would have no digest, and on a
            file that this user may not read.
    """
    beside = (folder / FILE, folder / SIGNATURE)
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_symlink() and not path.is_file():
            raise UserError(f"{path}: a link to no file; put what it leads to there itself, or remove it")
    files = [path for path in paths if path.is_file() and path not in beside]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(_content(path)).hexdigest() for path in files}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError as error:  # weights are written for their owner alone
        user = f"user {os.getuid()}, only by {path.stat().st_uid}"
        raise UserError(f"{path}: not readable by {user}; serve as that user, or make the export readable") from error


def model_digest(files: Mapping[str, str]) -> str:
    """One digest of all that the model is made of.

    Args:
        files: of a bundle, digests by relative path.
    """
    parts = {name: digest for name, digest in files.items() if name.startswith(f"{MODEL}/")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write(folder: Path) -> None:
    """Writes the manifest of the files as they are."""
    write_json(folder / FILE, digests(folder))


def seal(folder: Path) -> str:
    """SHA-256 of the manifest itself, which stands for all files of a bundle.

    Raises:
        UserError: if there is none.
    """
    try:
        return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise _no_bundle(folder) from error


def read_file(folder: Path, name: str, sealed: str | None = None) -> bytes | None:
    """A file of a bundle as it was exported; None where it was exported without.

    Args:
        folder: of the bundle.
        name: relative path.
        sealed: what `seal` must be of its manifest; whatever it is if None.

    Raises:
        UserError: if the file is missing or changed, or another bundle lies there by now.
    """
    if sealed is not None and seal(folder) != sealed:
        raise UserError(f"{folder}: another bundle lies there by now; start again to serve it")
    listed = _listed(folder)
    path = folder / name
    content = path.read_bytes() if path.is_file() else None
    if content is None and name not in listed:
        return None
    if content is None or hashlib.sha256(content).hexdigest() != listed.get(name):
        raise _changed(folder, name, listed, content is not None)
    return content


def verify(folder: Path) -> dict[str, str]:
    """The digests of a bundle's files, after holding them against the manifest.

    Raises:
        UserError: naming the first file that is missing, changed, or not of the bundle.
    """
    listed = _listed(folder)
    there = digests(folder)
    for name in sorted(listed.keys() | there.keys()):
        if listed.get(name) != there.get(name):
            raise _changed(folder, name, listed, name in there)
    return there


def _listed(folder: Path) -> dict[str, str]:
    if not (folder / FILE).is_file():
        raise _no_bundle(folder)
    return read_json(folder / FILE, "export the model again")


def _changed(folder: Path, name: str, listed: Mapping[str, str], there: bool) -> UserError:
    what = "missing" if not there else "changed since" if name in listed else "not of the export"
    return UserError(f"{folder / name}: {what}, as {FILE} tells; copy the bundle again, or export it again")


def _no_bundle(folder: Path) -> UserError:
    return UserError(f"{folder}: no {FILE}, so it is no bundle; give the `bundle` folder of serve.export")
