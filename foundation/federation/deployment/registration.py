"""A node's first words to the SuperLink: is its key admitted, and does an earlier process of it still count?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from foundation.errors import UserError
from foundation.federation.deployment.control_client import UnreachableError
from foundation.federation.deployment.pki import public_bytes
from foundation.locks import alone

_HEARTBEAT_SECONDS = 30.0  # which the SuperLink asks for; the node is signed off long before


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Holds a site's state for this process.

    Raises:
        UserError: if another one holds it.
    """
    path = state / "node.lock"
    with alone(path) as mine:
        if not mine:
            raise UserError(f"{path}: a node of this folder runs already; stop it first")
        yield


def ask_admission(address: str, certificate: Path, key: Path, state: Path) -> None:
    """Makes sure that the SuperNode will be let in.

    A SuperLink counts a node as connected for up to a minute after it was killed, and meanwhile refuses it. So the
    node's number is kept in the site's state, by which the earlier process is signed off.

    Args:
        address: of the SuperLink, host:port.
        certificate: of the authority that vouches for it.
        key: of the site.
        state: folder of the site.

    Raises:
        UnreachableError: if the connection breaks, or the SuperLink fails.
        UserError: if the SuperLink does not know the key, or it was revoked.
    """
    private = _private(key)
    wanted = ActivateNodeRequest(public_key=public_bytes(private.public_key()), heartbeat_interval=_HEARTBEAT_SECONDS)
    number = state / "node_id"
    client = FleetHttpClient.from_server_address(
        address,
        insecure=False,
        root_certificates=certificate.read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(private, private.public_key()),
        ],
    )
    with client:
        try:
            try:
                node = client.ActivateNode(wanted).node_id
            except httpx.HTTPStatusError:
                if not number.is_file():
                    raise
                client.DeactivateNode(DeactivateNodeRequest(node_id=int(number.read_text())))
                node = client.ActivateNode(wanted).node_id
            number.write_text(str(node))
            client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        except httpx.HTTPStatusError as error:
            if error.response.is_server_error:
                raise UnreachableError(f"{address}: the SuperLink fails ({error}); see its log") from error
            raise UserError(
                f"{key}: the SuperLink at {address} refuses this key: it is unknown there, or it was revoked; "
                "ask the federation's operator for a new folder"
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(f"{address}: the SuperLink went away ({error}); start it again") from error


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no private key as OpenSSH writes it ({error}); take the one of this site") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: no EC key; take the one that provision wrote for this site")
    return key
