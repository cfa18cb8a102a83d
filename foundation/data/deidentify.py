"""Keyed hashes in place of patient ids, and the key that stays at the site."""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from foundation.data.problems import refuse
from foundation.errors import UserError

KEY_BYTES = 32


def keyed_hash(ids: Iterable[str], key: bytes, prefix: str = "P", digits: int = 16) -> list[str]:
    """Patient ids as HMAC-SHA256 (RFC 2104) under the site's key: the same id, the same hash.

    Args:
        ids: any number of times each.
        key: 32 bytes, of `read_or_make_key`.
        prefix: what each hash begins with, so that it reads as an id and not as a number.
        digits: hexadecimal ones kept, at least 16 (64 bits).

    Returns:
        `P-3f9c…`, in the order of the ids.

    Raises:
        UserError: if two ids get one hash (at 16 digits and a million patients: once in 40 million keys).
        ValueError: if the key or the number of digits is too short.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key has {len(key)} bytes, not {KEY_BYTES}")
    if not 16 <= digits <= 64:
        raise ValueError(f"digits={digits}: give 16 to 64")
    ids = list(ids)
    hashes = {
        name: f"{prefix}-{hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:digits]}" for name in set(ids)
    }
    if len(set(hashes.values())) != len(hashes):
        raise UserError("two patient ids get one hash under this key; keep more digits, or make another key")
    return [hashes[name] for name in ids]


def read_or_make_key(path: Path, output: Path | None = None) -> bytes:
    """The site's key; made of 32 random bytes, written as hexadecimal and readable by its owner only, if missing.

    Args:
        path: of the key file. It stays at the site.
        output: where the cohort is packed; a key inside would travel with it.

    Raises:
        DataError: if the file lies in `output`, is readable by others, is no file, or holds no key. No message shows
            what it holds.
    """
    if output is not None and path.resolve().is_relative_to(output.resolve()):
        raise refuse(path, "the key lies where the cohort is packed", "keep it elsewhere: it must not leave the site")
    if not path.exists():
        _make(path)
    if not path.is_file():
        raise refuse(path, "no file", "name a file for the key")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise refuse(path, f"others may read the key (mode {mode:04o})", f"run: chmod 600 {path}")
    try:
        text = path.read_bytes().decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise refuse(path, "holds no key", "restore the key, or name a new file to make another") from error
    except OSError as error:
        raise refuse(path, f"not readable ({error.strerror})", "let its owner run this") from error
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        finding = f"holds no key: {len(text)} characters, not {2 * KEY_BYTES} hexadecimal digits"
        raise refuse(path, finding, "restore the key, or name a new file to make another")
    return bytes.fromhex(text)


def _make(path: Path) -> None:
    """Writes a new key, whole or not at all; of two processes that try at once, one key stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise refuse(
            path, f"the key cannot be written ({error.strerror})", "make its folder, writable by you"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
