"""Who may give the SuperLink commands: whoever has its folder's own key, and named operators by keys of theirs.

Each command is signed over what it asks, its time and a number used once (ECDSA on P-384), and is refused without.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384

from foundation.errors import UserError
from foundation.federation.deployment.pki import write_node_key
from foundation.federation.deployment.requests import fingerprint, public_line
from foundation.federation.ledger.seal import read_private, read_public, verifies
from foundation.files import PUBLIC, write_bytes

OWNER = "server"  # by the key of the SuperLink's own certificate, which its run processes have, too
SECONDS = 300.0  # that a command's time may be off; a number is remembered for twice as long
_KEY, _TIME, _NUMBER, _SIGNATURE = (f"x-consilium-{name}" for name in ("operator", "time", "number", "signature"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Command:
    """What is signed.

    Attributes:
        path: of the SuperLink's interface.
        body: of the request.
        at: seconds since 1970, as text.
        number: used once.
    """

    path: str
    body: bytes
    at: str
    number: str

    def text(self) -> bytes:
        """As it is signed."""
        digest = hashlib.sha256(self.body).hexdigest()
        return "\n".join(["consilium: command", self.path, digest, self.at, self.number]).encode()


class SignCommands:
    """Signs the commands of Flower's client.

    Args:
        key: of the operator.
    """

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key
        self._fingerprint = fingerprint(key.public_key())

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        """Adds a fresh signature to a request."""
        request = context.request
        command = Command(request.url.path, request.read(), repr(time.time()), secrets.token_hex(16))
        signature = self._key.sign(command.text(), ECDSA(SHA384())).hex()
        request.headers.update(
            {_KEY: self._fingerprint, _TIME: command.at, _NUMBER: command.number, _SIGNATURE: signature}
        )
        return call_next(context)


class Refused(Exception):  # noqa: N818  # the answer to a sender, no fault of this program
    """Why a command is not carried out, for its sender."""


class Operators:
    """Knows by a command's signature who gave it.

    Args:
        folder: of the SuperLink. A key that is put into its `operators/`, or taken away, counts from the next command.
        clock: seconds since 1970.
        since: before which no command counts: which were given then, nobody here remembers.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time, since: float = 0.0) -> None:
        self._folder = folder
        self._clock = clock
        self._since = since
        self._numbers: dict[str, float] = {}  # when each may be forgotten

    def of(self, path: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Who gave a command.

        Args:
            path: see `Command`.
            body: likewise.
            headers: of the request, in small letters.

        Raises:
            Refused: if nobody did who may, or it was given before.
        """
        if not all(headers.get(name) for name in (_KEY, _TIME, _NUMBER, _SIGNATURE)):
            raise Refused(
                "not signed by an operator; say which key with operator_key=... (federation.operator_key=...)"
            )
        command = Command(path, body, headers[_TIME], headers[_NUMBER])
        names = {fingerprint(key): (name, key) for name, key in read_operators(self._folder).items()}
        name, key = names.get(headers[_KEY], ("", None))
        if key is None or not verifies(key, headers[_SIGNATURE], command.text()):
            raise Refused("signed by no operator of this SuperLink; its owner admits a key with action=operator")
        self._use_once(command)
        return name

    def _use_once(self, command: Command) -> None:
        """Only of commands that were signed: nobody else can fill the memory."""
        now = self._clock()
        self._numbers = {number: until for number, until in self._numbers.items() if until > now}
        if not _is_near(command.at, now) or float(command.at) < self._since:
            raise Refused(
                f"was signed at another time (now {now:.0f}, then {command.at}); give it anew, or set the clock"
            )
        if command.number in self._numbers:
            raise Refused("was given before; give it anew")
        self._numbers[command.number] = now + 2 * SECONDS


def read_operators(folder: Path) -> dict[str, EllipticCurvePublicKey]:
    """Keys by name: the owner's, and those in `operators/`.

    Raises:
        UserError: naming a file that holds no key.
    """
    certificate = folder / "superlink.pem"
    owner = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    if not isinstance(owner, EllipticCurvePublicKey):
        raise UserError(f"{certificate}: not made by provision; run it again for a fresh one")
    named = {path.stem: read_public(path) for path in sorted((folder / "operators").glob("*.pub"))}
    return {OWNER: owner, **named}


def make_key(path: Path, name: str) -> str:
    """Writes an operator's private key, and its public line beside it; gives the fingerprint.

    Raises:
        UserError: if a key lies there, or the name is none.
    """
    check_operator(name)
    if path.exists():
        raise UserError(f"{path}: a key lies there; give another key=, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path.with_name(f"{path.name}.pub"), write_node_key(path, name), PUBLIC)
    return fingerprint(read_private(path).public_key())


def admit_operator(folder: Path, name: str, public: Path) -> str:
    """Takes an operator's commands from now on, by the key in a file; gives its fingerprint.

    Raises:
        UserError: if the file holds no key, the key is another operator's, or the name is none.
    """
    check_operator(name)
    key = read_public(public)
    for other, theirs in read_operators(folder).items():
        if theirs == key and other != name:
            raise UserError(f"{public}: the key of '{other}' already; each operator makes one with action=key")
    (folder / "operators").mkdir(exist_ok=True)
    write_bytes(folder / "operators" / f"{name}.pub", public_line(key, name), PUBLIC)
    return fingerprint(key)


def dismiss_operator(folder: Path, name: str) -> None:
    """Takes no command of an operator from now on.

    Raises:
        UserError: if there is none of that name.
    """
    names = [other for other in read_operators(folder) if other != OWNER]
    if name not in names:
        raise UserError(f"operator: found '{name}'; there are {', '.join(names) or 'none'}")
    (folder / "operators" / f"{name}.pub").unlink()


def check_operator(name: str) -> None:
    """Raises a UserError on a name that is none, or the owner's."""
    if not _NAME.fullmatch(name) or name == OWNER:
        raise UserError(f"operator: found '{name}'; use letters, digits, - and _, and not '{OWNER}'")


def _is_near(at: str, now: float) -> bool:
    try:
        return abs(now - float(at)) <= SECONDS
    except ValueError:
        return False
