"""Who may ask: tokens of a key file, which is read again when it changes, so that rotation needs no restart."""

import hmac
import logging
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json
from serve.key_file import BYTES

_LOG = logging.getLogger("serve")


class Tokens:
    """The tokens of key files, `{"inference": {"key": …}, "another caller": {"key": …}}`.

    Args:
        path: of the server's own file.
        callers: of a further one; none if None.

    Raises:
        UserError: if one cannot be read.
    """

    def __init__(self, path: Path, callers: Path | None = None) -> None:
        if callers is not None and not callers.is_file():
            raise UserError(f"asgi.callers: {callers}: no such file; give a key file")
        self._files = [_KeyFile(one) for one in (path, callers) if one is not None]

    def caller(self, authorization: bytes | None) -> str | None:
        """Whose token a header carries; None where it is nobody's.

        Every token is compared, each in constant time.
        """
        scheme, _, sent = (authorization or b"").partition(b" ")
        keys = [item for file in self._files for item in file.current().items()]
        names = [name for name, key in keys if hmac.compare_digest(sent, key)]
        return names[0] if names and scheme.lower() == b"bearer" else None


class _KeyFile:
    """One file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, bytes] = {}
        self._refresh()

    def current(self) -> dict[str, bytes]:
        """Keys by caller, as the file has them now."""
        try:
            self._refresh()
        except UserError as error:  # half written, or by hand: nobody may ask until it is whole again
            _LOG.error("%s", error)
            self._keys = {}
        return self._keys

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:  # the server is being stopped: nobody may ask
            self._keys, self._stamp = {}, None
            return
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp == self._stamp:
            return
        content = read_json(self._path, "write it as python -m serve does")
        try:
            keys = {str(name): entry["key"].encode() for name, entry in content.items()}
        except (AttributeError, KeyError, TypeError) as error:  # a key that is no text, too: null is nobody's "None"
            raise UserError(f'{self._path}: no key file; it holds {{"caller": {{"key": "..."}}}}') from error
        if not all(keys.values()):
            raise UserError(f"{self._path}: an empty key; give each caller one of {BYTES} random bytes")
        self._keys, self._stamp = keys, stamp
