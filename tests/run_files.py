"""What the files of a run hold, whatever their format."""

from collections.abc import Iterable
from pathlib import Path


def naming(folder: Path, patients: Iterable[str]) -> list[Path]:
    """Files in whose bytes an id stands."""
    ids = [one.encode() for one in patients]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(one in path.read_bytes() for one in ids)]
