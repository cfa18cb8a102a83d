"""Certificate signing requests of sites: a key that was made where it is used, and asks to be admitted (RFC 2986)."""

import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from foundation.errors import UserError
from foundation.files import PUBLIC, write_bytes

_LARGEST = 64 << 10


def write_request(path: Path, key: ec.EllipticCurvePrivateKey, site: str) -> str:
    """Writes a request for a site's key, signed by it; gives the key's fingerprint."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA384())
    write_bytes(path, request.public_bytes(Encoding.PEM), PUBLIC)
    return fingerprint(key.public_key())


def read_request(path: Path) -> tuple[str, ec.EllipticCurvePublicKey]:
    """The site and the key of a request, whose sender holds the private half.

    Raises:
        UserError: if it is none, is not signed by its own key, or asks for another kind of key.
    """
    advice = "take the NAME.csr that the hospital's `consilium federation join` wrote"
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too long")
        request = x509.load_pem_x509_csr(path.read_bytes())
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not request.is_signature_valid:
            raise ValueError("not signed by its own key")
        key = request.public_key()
    except (OSError, ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no certificate request ({error}); {advice}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise UserError(f"{path}: asks for another kind of key than P-384; {advice}")
    if len(names) != 1:
        raise UserError(f"{path}: names {len(names)} hospitals; {advice}")
    return str(names[0].value), key


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """By which two people compare a key over the telephone: the first 80 bits of its SHA-256, in fours."""
    content = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = hashlib.sha256(content).hexdigest()[:20]
    return "-".join(text[place : place + 4] for place in range(0, 20, 4))


def public_line(key: ec.EllipticCurvePublicKey, site: str) -> bytes:
    """A key as OpenSSH writes it, as it lies among the server's."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + f" {site}\n".encode()
