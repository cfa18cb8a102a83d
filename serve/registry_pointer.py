"""The file of a registry of releases that says which one is in use: what an endpoint follows."""

import re
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json

POINTER = "current.json"
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ADVICE = "any command of the registry writes it anew"


def release_in_use(pointer: Path) -> tuple[Path, str]:
    """The bundle of the release in use, and the seal of its manifest.

    Raises:
        UserError: if the file cannot be read, or names a bundle that is none of the registry's.
    """
    content = read_json(pointer, _ADVICE, "release", "bundle", "seal")
    release, bundle, seal = (content[name] for name in ("release", "bundle", "seal"))
    if not isinstance(release, str) or not _RELEASE.fullmatch(release) or bundle != f"releases/{release}/bundle":
        raise UserError(
            f"{pointer}: bundle: found {str(bundle)[:200]!r}, which is no release of this registry; {_ADVICE}"
        )
    if not isinstance(seal, str):
        raise UserError(f"{pointer}: seal: found {str(seal)[:80]!r}; {_ADVICE}")
    return pointer.parent / bundle, seal
