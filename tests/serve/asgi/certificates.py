"""Certificates of 127.0.0.1 for tests, signed by themselves or by another of them."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


def write_pair(
    folder: Path,
    name: str = "host",
    days: tuple[int, int] = (-1, 30),
    password: bytes | None = None,
    issuer: str | None = None,
) -> int:
    """`NAME.crt` and `NAME.key`; returns the certificate's number.

    Where an issuer's pair of that name is there, it signs, and its certificate stands behind.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"consilium test {name}")])
    behind = b"" if issuer is None else (folder / f"{issuer}.crt").read_bytes()
    signer = key if issuer is None else load_pem_private_key((folder / f"{issuer}.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    by = subject if issuer is None else x509.load_pem_x509_certificate(behind).subject
    first, last = (datetime.now(UTC) + timedelta(days=day) for day in days)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(first).not_valid_after(last)
    if name == "issuer":
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.add_extension(address, critical=False).sign(signer, hashes.SHA256())
    secrecy = NoEncryption() if password is None else BestAvailableEncryption(password)
    (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secrecy))
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM) + behind)
    return certificate.serial_number
