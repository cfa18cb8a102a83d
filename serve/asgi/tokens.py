"""Who may ask: tokens of a key file, which is read again when it changes, so that rotation needs no restart."""

import hmac
import logging
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json
from serve.key_file import BYTES

_LOG = logging.getLogger("serve")


class Tokens:
    """The tokens of a key file, `{"inference": {"key": …}, "another caller": {"key": …}}`.

    Args:
        path: of the file.

    Raises:
        UserError: if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, bytes] = {}
        self._refresh()

    def caller(self, authorization: bytes | None) -> str | None:
        """Whose token a header carries; None where it is nobody's.

        Every token is compared, each in constant time.
        """
        try:
            self._refresh()
        except UserError as error:  # half written, or by hand: nobody may ask until it is whole again
            _LOG.error("%s", error)
            self._keys = {}
        scheme, _, sent = (authorization or b"").partition(b" ")
        callers = [name for name, key in self._keys.items() if hmac.compare_digest(sent, key)]
        return callers[0] if callers and scheme.lower() == b"bearer" else None

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
