"""Signatures under a ledger's head: the site's, which nobody else can make, and the server's, which saw it.

Whoever can write a site's disk can make up a whole ledger; a head that the site signed and the server kept is outside
of it. The site signs by the key of its node (ECDSA on P-384), the server by that of its certificate.
"""

from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key, load_ssh_public_key
from cryptography.x509 import load_pem_x509_certificate
from pydantic import Field

from foundation.contract import Digest, Hospital, Part
from foundation.errors import UserError

Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{0,256}$")]  # DER, in hexadecimal


class Receipt(Part):
    """A site's ledger as it stood at one time.

    Attributes:
        site: whose.
        entries: so many it had at least.
        head: hash of the last of them.
        signature: of the site.
        countersignature: of the server that saw it; empty before.
    """

    site: Hospital
    entries: Annotated[int, Field(ge=1, lt=1 << 62)]
    head: Digest
    signature: Signature
    countersignature: Signature = ""

    def signed_by(self, key: EllipticCurvePublicKey) -> bool:
        """Whether the site's signature is that of a key."""
        return verifies(key, self.signature, _text(self.site, self.entries, self.head))

    def countersigned_by(self, key: EllipticCurvePublicKey) -> bool:
        """Likewise the server's."""
        return verifies(key, self.countersignature, _text(self.site, self.entries, self.head, self.signature))

    def countersigned(self, key: EllipticCurvePrivateKey) -> "Receipt":
        """The receipt with the server's signature."""
        text = _text(self.site, self.entries, self.head, self.signature)
        return self.model_copy(update={"countersignature": key.sign(text, ECDSA(SHA384())).hex()})


def sealed(key: EllipticCurvePrivateKey, site: str, entries: int, head: str) -> Receipt:
    """A receipt that a site signs."""
    signature = key.sign(_text(site, entries, head), ECDSA(SHA384())).hex()
    return Receipt(site=site, entries=entries, head=head, signature=signature)


def read_private(path: Path) -> EllipticCurvePrivateKey:
    """A private key as OpenSSH or OpenSSL writes it.

    Raises:
        UserError: if the file holds none on a curve.
    """
    try:
        content = path.read_bytes()
        ssh = b"OPENSSH" in content[:64]
        key = load_ssh_private_key(content, None) if ssh else load_pem_private_key(content, None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it asks for a password
        raise UserError(f"{path}: no private key can be read ({error}); take the one of this place") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise UserError(f"{path}: no EC key; take the one that was made for this place")
    return key


def read_public(path: Path) -> EllipticCurvePublicKey:
    """A public key as OpenSSH writes it.

    Raises:
        UserError: if the file holds none on a curve.
    """
    try:
        key = load_ssh_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise UserError(
            f"{path}: no public key can be read ({error}); put the site's own there (ssh-keygen -t ecdsa -b 384)"
        ) from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise UserError(f"{path}: no EC key; put the site's own there (ssh-keygen -t ecdsa -b 384)")
    return key


def read_certificate(path: Path) -> EllipticCurvePublicKey:
    """The public key of a certificate, as PEM.

    Raises:
        UserError: if the file holds none on a curve.
    """
    try:
        key = load_pem_x509_certificate(path.read_bytes()).public_key()
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no certificate can be read ({error}); take the SuperLink's") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise UserError(f"{path}: a certificate of no EC key; take the SuperLink's")
    return key


def _text(*parts: object) -> bytes:
    return "\n".join(["consilium: head of a ledger", *map(str, parts)]).encode()


def verifies(key: EllipticCurvePublicKey, signature: str, text: bytes) -> bool:
    """Whether a key's owner signed a text.

    Args:
        key: on P-384.
        signature: ECDSA with SHA-384, DER in hexadecimal; anything else is no signature.
        text: that is signed.
    """
    try:
        key.verify(bytes.fromhex(signature), text, ECDSA(SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True
