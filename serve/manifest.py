"""The digests of a bundle's files: written on export, held against the files before any of them is read."""

import hashlib
import json
from pathlib import Path

from foundation.errors import UserError

FILE = "manifest.json"


def digests(folder: Path) -> dict[str, str]:
    """By relative path, SHA-256 of every file under a folder but the manifest at its top."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(folder: Path) -> None:
    """Writes the manifest of the files as they are."""
    (folder / FILE).write_text(json.dumps(digests(folder), indent=2) + "\n")


def verify(folder: Path) -> None:
    """Refuses a bundle that is not whole.

    Raises:
        UserError: naming the first file that is missing, changed, or not of the bundle.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {FILE}, so it is no bundle; give the `bundle` folder of serve.export")
    try:
        listed = json.loads(path.read_text())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError alike
        raise UserError(f"{path}: not readable as JSON ({error}); export the model again") from error
    if not isinstance(listed, dict):
        raise UserError(f"{path}: found a {type(listed).__name__}, not digests by file; export the model again")
    found = digests(folder)
    for name in sorted(listed.keys() | found.keys()):
        if listed.get(name) != found.get(name):
            what = "missing" if name not in found else "changed since" if name in listed else "not of the export"
            raise UserError(f"{folder / name}: {what}, as {FILE} tells; copy the bundle again, or export it again")
