"""The key file of a started server: by caller, the token that its requests carry; readable by its user alone."""

import json
import secrets
from pathlib import Path

from foundation.errors import UserError
from foundation.files import SECRET, read_json, write_text

CALLER = "inference"  # of the token that a server makes at its start, as TorchServe calls it
BYTES = 32
_SERVERS_OWN = {CALLER, "management", "API"}  # the names that TorchServe writes
_AGAIN = "start the server again"
_REMOVE = f"remove it and {_AGAIN}"


def write_key_file(path: Path) -> None:
    """A key file with a new token for `inference`; other callers stay.

    Raises:
        UserError: if there is one that cannot be read.
    """
    content = read_json(path, _REMOVE) if path.is_file() else {}
    content[CALLER] = {"key": secrets.token_urlsafe(BYTES)}
    _write(path, content)


def remove_server_tokens(path: Path) -> None:
    """Takes out the tokens that the server made; those of other callers, whom people added, stay for its next start."""
    try:
        others = callers(path)
    except UserError:  # whoever mends it may find callers in it, and no server runs that takes a token
        return
    if others:
        _write(path, others)
    else:
        path.unlink(missing_ok=True)


def callers(path: Path) -> dict[str, object]:
    """What a key file holds of callers whom people added.

    Raises:
        UserError: if there is one that cannot be read.
    """
    content = read_json(path, _REMOVE) if path.is_file() else {}
    return {name: entry for name, entry in content.items() if name not in _SERVERS_OWN}


def read_token(path: Path) -> str:
    """The token that the server made.

    Raises:
        UserError: if the file holds none.
    """
    entry = read_json(path, _AGAIN, CALLER)[CALLER]
    key = entry.get("key") if isinstance(entry, dict) else None
    if not isinstance(key, str):
        raise UserError(f"{path}: '{CALLER}' has no key; {_AGAIN}")
    return key


def _write(path: Path, content: dict[str, object]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n", mode=SECRET)
