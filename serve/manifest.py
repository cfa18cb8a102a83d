"""The digests of a bundle's files: written on export, held against the files before any of them is read."""

import hashlib
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json, write_json

FILE = "manifest.json"


def digests(folder: Path) -> dict[str, str]:
    """By relative path, SHA-256 of every file under a folder but the manifest at its top."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(folder: Path) -> None:
    """Writes the manifest of the files as they are."""
    write_json(folder / FILE, digests(folder))


def verify(folder: Path) -> None:
    """Refuses a bundle that is not whole.

    Raises:
        UserError: naming the first file that is missing, changed, or not of the bundle.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {FILE}, so it is no bundle; give the `bundle` folder of serve.export")
    listed = read_json(path, "export the model again")
    there = digests(folder)
    for name in sorted(listed.keys() | there.keys()):
        if listed.get(name) != there.get(name):
            what = "missing" if name not in there else "changed since" if name in listed else "not of the export"
            raise UserError(f"{folder / name}: {what}, as {FILE} tells; copy the bundle again, or export it again")
