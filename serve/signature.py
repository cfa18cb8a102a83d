"""The signature of a bundle: Ed25519 (RFC 8032) over its manifest, which holds the digests of all its files."""

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from foundation.errors import UserError
from foundation.files import write_bytes
from serve import manifest

FILE = manifest.SIGNATURE
_MAKE = "make one with openssl genpkey -algorithm ed25519"


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs.

    Raises:
        UserError: if the file holds none.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"signing_key: {path}: no readable private key in PEM; {_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"signing_key: {path}: a key of another kind than Ed25519; {_MAKE}")
    return key


def sign(bundle: Path, key: Ed25519PrivateKey) -> None:
    """Writes the signature beside a bundle's manifest."""
    write_bytes(bundle / FILE, key.sign((bundle / manifest.FILE).read_bytes()))


def read_trusted_key(trusted_key: Path) -> Ed25519PublicKey:
    """The key by whose owner something must be signed.

    Raises:
        UserError: if the file holds none.
    """
    try:
        key = load_pem_public_key(trusted_key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        advice = "give the file of openssl pkey -in KEY -pubout"
        raise UserError(f"trusted_key: {trusted_key}: no readable public key in PEM; {advice}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"trusted_key: {trusted_key}: a key of another kind than Ed25519; {_MAKE}")
    return key


def verify(bundle: Path, trusted_key: Path) -> None:
    """Refuses a bundle whose manifest that key's owner did not sign.

    Raises:
        UserError: if there is no signature, it is not of this manifest and key, or the file holds no key.
    """
    key = read_trusted_key(trusted_key)
    path = bundle / FILE
    if not path.is_file():
        raise UserError(f"{path}: missing, so nobody signed this bundle; export it with signing_key=...")
    try:
        key.verify(path.read_bytes(), (bundle / manifest.FILE).read_bytes())
    except InvalidSignature as error:
        finding = f"not the signature of {manifest.FILE} by the owner of {trusted_key}"
        raise UserError(f"{path}: {finding}; get the bundle, or the key, from its maker again") from error
