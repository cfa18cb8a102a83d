"""The SuperLink's folder, and the way to the SuperLink that runs from it: nodes, runs, logs."""

import hashlib
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml
from flwr.common.constant import Status, SubStatus
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    StreamLogsRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from foundation.errors import UserError
from foundation.federation.deployment.operators import SignCommands
from foundation.federation.ledger.seal import read_private

_SECONDS = 10.0
# A line for each request, which commands would print among their answers, tells nobody anything.
logging.getLogger("httpx").setLevel(logging.WARNING)


class UnreachableError(UserError):
    """Nobody answers at the address, or not now: worth trying again."""


@dataclass(frozen=True)
class ServerFolder:
    """What `python -m foundation.federation.deployment.provision` wrote for the SuperLink.

    Attributes:
        path: of the folder.
        listen: address that the SuperLink binds to.
        port: likewise.
    """

    path: Path
    listen: str
    port: int

    @classmethod
    def load(cls, path: str | Path) -> "ServerFolder":
        """Reads `server.yaml`.

        Raises:
            UserError: if it is missing or lacks a field.
        """
        file = Path(path).resolve() / "server.yaml"
        if not file.is_file():
            raise UserError(
                f"{file}: missing; run python -m foundation.federation.deployment.provision, or set server="
            )
        content = yaml.safe_load(file.read_text())
        try:
            return cls(file.parent, str(content["listen"]), int(content["port"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file}: listen and port are needed ({error!r}); run provision again") from error

    @property
    def certificate(self) -> Path:
        """Of the authority."""
        return self.path / "ca.pem"

    @property
    def state(self) -> Path:
        """The SuperLink's database, and Flower's files."""
        return self.path / "state"

    @property
    def receipts(self) -> Path:
        """Heads of the sites' ledgers that they signed, a file a site."""
        return self.path / "receipts"

    @property
    def address(self) -> str:
        """Under which this machine reaches the SuperLink."""
        return f"127.0.0.1:{self.port}"

    def keys(self) -> dict[str, Path]:
        """The sites' public keys by name."""
        return {path.stem: path for path in sorted((self.path / "nodes").glob("*.pub"))}


def check_connection(address: str, certificate: Path) -> None:
    """Raises a UserError that says why there is no trusted connection to a SuperLink.

    Args:
        address: host:port.
        certificate: of the authority that must vouch for it.

    Raises:
        UnreachableError: if nobody listens there, or it hangs up at once.
        UserError: if somebody does for whom the authority does not vouch.
    """
    host, _, port = address.rpartition(":")
    try:
        context = ssl.create_default_context(cafile=certificate)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"{certificate}: no certificate ({error}); take ca.pem from the federation's folder") from error
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=host.strip("[]")).close()
    except ssl.SSLCertVerificationError as error:
        raise UserError(
            f"{certificate}: does not vouch for the SuperLink at {address} ({error.verify_message}); "
            "take the ca.pem of this federation, and an address that its certificate names"
        ) from error
    except ssl.SSLEOFError as error:
        raise UnreachableError(f"{address}: hung up; is the SuperLink up behind it, and the network whole?") from error
    except ssl.SSLError as error:
        raise UserError(f"{address}: answers, but not over TLS ({error.reason}); is it the SuperLink?") from error
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{address}: no SuperLink reached ({error}); start it there, or mend the address"
        ) from error


class Node(NamedTuple):
    """A node that was ever registered: its site, `online`, `offline` or `unregistered`, and its number."""

    name: str
    status: str
    number: int


def connect(folder: ServerFolder, operator_key: Path | None = None) -> "SuperLink":
    """The SuperLink that runs from a folder.

    Args:
        folder: of it.
        operator_key: private key of the operator who commands; the folder's own if None.

    Raises:
        UserError: if the key cannot be read; see also `check_connection`.
    """
    check_connection(folder.address, folder.certificate)
    key = read_private(operator_key or folder.path / "superlink.key")
    client = ControlHttpClient.from_server_address(
        folder.address,
        insecure=False,
        root_certificates=folder.certificate.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI"), SignCommands(key)],
    )
    return SuperLink(folder.address, client)


class SuperLink:
    """The operator's commands; a SuperLink that goes away is a UserError.

    Args:
        address: of it.
        client: Flower's.
    """

    def __init__(self, address: str, client: ControlHttpClient) -> None:
        self.address = address
        self.client = client

    def nodes(self) -> list[Node]:
        """All that were ever registered."""
        with self._one_line():
            infos = self.client.ListNodes(ListNodesRequest()).nodes_info
            return [Node(info.name, info.status, info.node_id) for info in infos]

    def admitted(self) -> dict[int, str]:
        """By the number of a node, the hospital whose key it was admitted with."""
        return {node.number: node.name for node in self.nodes() if node.status != "unregistered"}

    def admit(self, site: str, key: bytes) -> None:
        """Takes a site's key from now on, as Flower knows a node by it."""
        with self._one_line():
            self.client.RegisterNode(RegisterNodeRequest(public_key=key, name=site))

    def revoke(self, site: str) -> None:
        """Refuses a site's key from now on.

        Raises:
            UserError: if no key of that name is admitted.
        """
        admitted = [node for node in self.nodes() if node.status != "unregistered"]
        nodes = [node for node in admitted if node.name == site]
        if not nodes:
            names = ", ".join(node.name for node in admitted)
            raise UserError(f"site: no key of '{site}' is admitted; there are {names or 'none'}")
        with self._one_line():
            for node in nodes:
                self.client.UnregisterNode(UnregisterNodeRequest(node_id=node.number))

    def start(self, bundle: bytes) -> int:
        """Starts a run of an app bundle; gives its number."""
        fab = Fab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle)
        with self._one_line():
            return int(self.client.StartRun(StartRunRequest(fab=fab)).run_id)

    def log(self, run: int) -> Iterator[str]:
        """What the run's server process prints, until it ends."""
        with self._one_line():
            for part in self.client.StreamLogs(StreamLogsRequest(run_id=run, after_timestamp=0.0)):
                yield part.log_output

    def failure(self, run: int) -> str | None:
        """Why a finished run failed; None if it did not."""
        with self._one_line():
            status = self.client.ListRuns(ListRunsRequest(run_id=run)).run_dict[run].status
        return None if status.sub_status == SubStatus.COMPLETED else status.details or status.sub_status

    def stop(self, run: int) -> None:
        """Ends a run that has not finished, if there is one of that number."""
        with self._one_line():
            runs = self.client.ListRuns(ListRunsRequest()).run_dict
            if run in runs and runs[run].status.status != Status.FINISHED:
                self.client.StopRun(StopRunRequest(run_id=run))

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            refusal = FlowerError.from_json(error.response.text)
            text = refusal.message if refusal else error.response.text[:200] or str(error)
            raise UserError(f"SuperLink at {self.address}: refused: {text}") from error
        except (httpx.HTTPError, ValueError) as error:  # Flower says a cut stream as a ValueError
            raise UserError(
                f"SuperLink at {self.address}: went away ({error}); start it again, then go on with resume=true"
            ) from error
