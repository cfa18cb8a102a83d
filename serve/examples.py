"""Requests that a bundle brings along, to try it with: of a synthetic patient, by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.files import write_json
from serve import manifest

FILE = "examples.json"  # of a bundle
EVERYTHING = "everything"


def write(bundle: Path, request: Mapping[str, Any]) -> None:
    """Puts a request into a bundle that is being made, and each of its modalities alone.

    Args:
        bundle: folder.
        request: of a synthetic patient; no real one travels.
    """
    alone = {f"only {name}": {name: value} for name, value in request.items()} if len(request) > 1 else {}
    write_json(bundle / FILE, {EVERYTHING: dict(request), **alone}, sort_keys=False)


def read(bundle: Path, seal: str | None = None) -> bytes:
    """A bundle's requests as JSON, as they were exported; none where it has none, as of real patients.

    Args:
        bundle: folder.
        seal: of its manifest when it was verified; see `manifest.read_file`.

    Raises:
        UserError: if they are not as they were exported.
    """
    return manifest.read_file(bundle, FILE, seal) or b"{}"
