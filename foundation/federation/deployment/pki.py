"""Keys and certificates of a federation: who the SuperLink is (TLS), and who each node is (its key)."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from foundation.errors import UserError
from foundation.federation.ledger.seal import read_public
from foundation.files import PUBLIC, SECRET, write_bytes

_CURVE = ec.SECP384R1()  # what Flower takes for a node's key, too
_BACKDATED = timedelta(minutes=5)  # a site's clock may lag behind


def write_authority(folder: Path, name: str, days: int) -> None:
    """Writes `ca.pem` and `ca.key`: the authority that signs the SuperLink's certificate and nothing else.

    Certificates that lie there stay behind the new one until they end: who has the new `ca.pem` trusts a SuperLink of
    either, so that sites can take it one after another.
    """
    earlier = [one for one in _certificates(folder / "ca.pem") if one.not_valid_after_utc > datetime.now(UTC)]
    key = ec.generate_private_key(_CURVE)
    subject = _name(f"{name} federation")
    certificate = (
        _certificate(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "ca.key", _pem(key), SECRET)
    content = b"".join(one.public_bytes(Encoding.PEM) for one in [certificate, *earlier])
    write_bytes(folder / "ca.pem", content, PUBLIC)


def write_certificate(authority: Path, folder: Path, hosts: list[str], days: int) -> None:
    """Writes `superlink.pem` and `superlink.key`, signed by the authority.

    Args:
        authority: folder of `ca.pem` and `ca.key`.
        folder: for the pair.
        hosts: names and IP addresses under which sites reach the SuperLink.
        days: that the certificate holds.

    Raises:
        UserError: if the authority's files are no key and certificate.
    """
    try:
        issuer = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
        issuer_key = load_pem_private_key((authority / "ca.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise UserError(f"{authority}: no usable ca.pem and ca.key ({error}); restore or remove the folder") from error
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(_CURVE)
    certificate = (
        _certificate(_name(hosts[0]), issuer.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA384())
    )
    write_bytes(folder / "superlink.key", _pem(key), SECRET)
    write_bytes(folder / "superlink.pem", certificate.public_bytes(Encoding.PEM), PUBLIC)


def days_left(certificate: Path) -> float:
    """Until the certificate in a file ends, the first one where there are several.

    Raises:
        UserError: if there is none.
    """
    certificates = _certificates(certificate)
    if not certificates:
        raise UserError(f"{certificate}: missing; run provision again")
    return (certificates[0].not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)


def write_node_key(path: Path, site: str) -> bytes:
    """Writes a site's private key as OpenSSH has it, which Flower reads; gives its public line."""
    key = ec.generate_private_key(_CURVE)
    write_bytes(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), SECRET)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + f" {site}\n".encode()


def read_public_key(path: Path) -> bytes:
    """The key in a file, as Flower knows its node by it.

    Raises:
        UserError: if the file holds no EC key as OpenSSH writes it.
    """
    return public_bytes(read_public(path))


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The bytes by which Flower knows a node."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _certificates(path: Path) -> list[x509.Certificate]:
    """Those in a file; none where it is missing."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes()) if path.is_file() else []
    except ValueError as error:
        raise UserError(f"{path}: no certificate ({error}); restore it from a copy") from error


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer,
        subject,
        key,
        x509.random_serial_number(),
        now - _BACKDATED,
        now + timedelta(days=days),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
