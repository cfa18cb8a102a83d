"""Admission of a site's own key by the operator, who never holds its private half."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from foundation.errors import UserError
from foundation.federation.deployment.control_client import ServerFolder, SuperLink, UnreachableError, connect
from foundation.federation.deployment.pki import public_bytes
from foundation.federation.deployment.provision import check_names
from foundation.federation.deployment.requests import fingerprint, public_line, read_request
from foundation.federation.ledger.seal import read_public
from foundation.files import PUBLIC, write_bytes


def admit_request(folder: ServerFolder, request: Path, spoken: str | None, operator_key: Path | None = None) -> str:
    """Admits the key of a request in the place of any earlier one of that name, at once where the SuperLink runs.

    Args:
        folder: of the SuperLink.
        request: that the hospital sent.
        spoken: fingerprint, as the hospital said it on another way than the request came.
        operator_key: see `connect`.

    Returns:
        What was done, in a line.

    Raises:
        UserError: if the request is none, or its key is not the one that the hospital named.
    """
    site, key = read_request(request)
    check_names([site])
    if spoken is None or spoken.replace("-", "").lower() != fingerprint(key).replace("-", ""):
        raise UserError(
            f"fingerprint: {'not given' if spoken is None else 'not that of the request'}; ask {site} by telephone for "
            "the one that join printed there, and say fingerprint=... with it"
        )
    path = folder.path / "nodes" / f"{site}.pub"
    before = read_public(path) if path.is_file() else None
    write_bytes(path, public_line(key, site), PUBLIC)
    try:
        superlink = connect(folder, operator_key)
    except UnreachableError:
        return f"{site}: admitted when the SuperLink starts"
    _admit(superlink, site, key, before)
    return f"{site}: admitted from now on" + ("; its earlier key is refused" if before not in (None, key) else "")


def _admit(superlink: SuperLink, site: str, key: EllipticCurvePublicKey, before: EllipticCurvePublicKey | None) -> None:
    if before == key:
        return
    if any(node.name == site and node.status != "unregistered" for node in superlink.nodes()):
        superlink.revoke(site)
    superlink.admit(site, public_bytes(key))
