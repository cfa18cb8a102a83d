"""Where a host listens, and with which certificate: nobody reads patients or tokens on the way, unless asked for."""

import asyncio
import ipaddress
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from foundation.errors import UserError
from foundation.ports import LOOPBACK, check_port, read_port

_EVERY = 30.0  # seconds between two looks at the certificate's file
_LOG = logging.getLogger("serve")


@dataclass(frozen=True)
class Listening:
    """An address, and how it is protected.

    Attributes:
        address: of IP that is listened on.
        port: likewise.
        certificate: PEM file of the certificate, those that vouch for it behind it; no TLS if None.
        key: PEM file of its private key, without a password.
        unencrypted: whether other machines may come without TLS, as behind a proxy that has it.

    Raises:
        UserError: if the address is none or in use, one half of a pair is missing, the pair is none or has expired, or
            other machines would come without TLS and nobody said so.
    """

    address: str
    port: int
    certificate: str | None = None
    key: str | None = None
    unencrypted: bool = False

    def __post_init__(self) -> None:
        read_port(self.port)
        try:
            loopback = ipaddress.ip_address(self.address).is_loopback
        except ValueError as error:
            advice = f"give an address of this machine, such as {LOOPBACK}, or 0.0.0.0 for all of them"
            raise UserError(f"asgi.address: {self.address!r} is no IP address; {advice}") from error
        for name, half, other in (("certificate", self.certificate, self.key), ("key", self.key, self.certificate)):
            if half is None and other is not None:
                raise UserError(f"asgi.{name}: not given, but its other half is; give both, or neither")
        if not loopback and self.certificate is None and not self.unencrypted:
            finding = f"other machines reach {self.address}, and patients and tokens would travel in the open"
            advice = "give asgi.certificate and asgi.key, or asgi.unencrypted=true behind a proxy that has TLS"
            raise UserError(f"asgi.address: {finding}; {advice}")
        self.check()

    def check(self) -> None:
        """Refuses a certificate that clients would refuse.

        Raises:
            UserError: naming what is wrong with it.
        """
        if self.certificate is None or self.key is None:
            return
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Path(self.certificate), Path(self.key))
        try:
            leaf = x509.load_pem_x509_certificates(Path(self.certificate).read_bytes())[0]
        except ValueError as error:
            raise UserError(f"asgi.certificate: {self.certificate}: no certificate in PEM; ask its issuer") from error
        if not leaf.not_valid_before_utc <= datetime.now(UTC) < leaf.not_valid_after_utc:
            span = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
            raise UserError(f"asgi.certificate: {self.certificate}: valid from {span}; get another")

    def check_free(self) -> None:
        """Raises a UserError where somebody listens already."""
        check_port(self.port, self.address)

    @property
    def origin(self) -> str:
        """By which this machine reaches it."""
        own = ipaddress.ip_address(self.address)
        address = ("::1" if own.version == 6 else LOOPBACK) if own.is_unspecified else self.address
        shown = f"[{address}]" if own.version == 6 else address
        return f"http{'' if self.certificate is None else 's'}://{shown}:{self.port}"

    async def renew(self, context: ssl.SSLContext) -> None:
        """Takes a certificate that was written anew for the connections that come, until it is cancelled."""
        assert self.certificate is not None and self.key is not None
        pair = Path(self.certificate), Path(self.key)
        stamps = [path.stat().st_mtime_ns for path in pair]
        while True:
            await asyncio.sleep(_EVERY)
            try:
                now = [path.stat().st_mtime_ns for path in pair]
                if now != stamps:
                    self.check()  # before the context takes it: half a pair would end all handshakes
                    load_pair(context, *pair)
                    stamps = now
                    _LOG.warning("the certificate was read again")
            except (OSError, UserError) as error:
                _LOG.error("the certificate cannot be read again (%s); the former one stays", error)


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Gives a context certificate and key.

    Raises:
        UserError: if they are no pair.
    """
    for name, path in (("certificate", certificate), ("key", key)):
        if not path.is_file():
            raise UserError(f"asgi.{name}: {path}: no such file; give a PEM file")
    try:
        context.load_cert_chain(certificate, key, password="")  # never asks a terminal
    except (OSError, ValueError) as error:  # SSLError is an OSError
        advice = "give the key of this certificate, in PEM without a password"
        raise UserError(f"asgi.certificate: {certificate}, {key}: no pair that can be used; {advice}") from error
