"""The signature of a card: Ed25519 over the digests of all its files, as a bundle is signed."""

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from foundation.errors import UserError
from foundation.files import read_json
from serve import manifest, signature

_ADVICE = "write the card again with python -m serve.card"


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """Writes manifest and signature of a card that is whole."""
    manifest.write(folder)
    signature.sign(folder, key)


def unsign(folder: Path) -> None:
    """Removes what an earlier card in the folder was signed with."""
    for name in (manifest.FILE, manifest.SIGNATURE):
        (folder / name).unlink(missing_ok=True)


def is_signed(folder: Path) -> bool:
    """Whether a signature lies there, of whoever."""
    return (folder / manifest.SIGNATURE).is_file()


def problems(folder: Path, trusted_key: Path | None) -> Iterator[str]:
    """Files that are not as they were signed, and a signature that is missing or not of a key.

    Args:
        folder: of the card.
        trusted_key: public key of whoever must have signed; None if anybody may, or nobody.

    Raises:
        UserError: if the file holds no key.
    """
    if trusted_key is not None:
        signature.read_trusted_key(trusted_key)
        if not is_signed(folder):
            yield f"{manifest.SIGNATURE}: missing, so nobody signed this card; write it again with signing_key=..."
            return
    if not (folder / manifest.FILE).is_file():
        if trusted_key is not None:  # a signature alone is of nothing
            yield f"{manifest.FILE}: missing, so the signature is of no file; {_ADVICE}, and sign it"
        return
    try:
        before = read_json(folder / manifest.FILE, _ADVICE)
    except UserError as error:
        yield str(error)
        return
    now = manifest.digests(folder)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            what = "missing" if name not in now else "changed" if name in before else "added"
            yield f"{name}: {what} since the card was signed; {_ADVICE}, and sign it"
    if trusted_key is not None:
        try:
            signature.verify(folder, trusted_key)
        except UserError as error:
            yield str(error)
