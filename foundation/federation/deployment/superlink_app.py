"""Flower's SuperLink as this project runs it: the sites' keys admitted, its commands taken from this machine alone."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.superlink.cli.flower_superlink import flower_superlink
from starlette.types import ASGIApp, Receive, Scope, Send

from foundation.federation.deployment.control_client import ServerFolder
from foundation.federation.deployment.flower_patches import prepare_superlink, share_database
from foundation.federation.deployment.pki import read_public_key

_OPEN = ("/v1/fleet/", "/health")  # to other machines
_HERE = ("127.0.0.1", "::1")


def start(folder: ServerFolder) -> None:
    """Serves until interrupted; what was registered and run lies in a SQLite file.

    Flower's open edition takes commands (start a run, admit a key) from whoever reaches its port. Here they are taken
    from this machine alone; to others, the interface of the nodes is all there is.
    """
    logging.getLogger("flwr").propagate = False  # it prints by itself; Hydra's handler would say it again
    keys = folder.keys()

    def prepare(app: Any) -> None:
        admit(app.state.linkstate_factory.state(), keys)
        app.add_middleware(SitesStayOutside)

    prepare_superlink(prepare)
    share_database()
    os.environ["FLWR_HOME"] = str(folder.state / "flower")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for the ServerApp's process
    folder.state.mkdir(parents=True, exist_ok=True)
    sys.argv = [
        "flower-superlink",
        *("--ssl-ca-certfile", str(folder.certificate)),
        *("--ssl-certfile", str(folder.path / "superlink.pem")),
        *("--ssl-keyfile", str(folder.path / "superlink.key")),
        *("--database", f"sqlite:///{folder.state / 'superlink.sqlite'}"),
        *("--host", folder.listen, "--port", str(folder.port)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]
    flower_superlink()


def admit(state: Any, keys: dict[str, Path]) -> None:
    """Registers the sites' keys that the SuperLink has not seen; a key that was revoked stays so.

    Args:
        state: Flower's, of nodes and runs (`LinkState`).
        keys: files by site.
    """
    known = {node.public_key for node in state.get_node_info(owner_aids=[NOOP_FLWR_AID])}
    for name, path in keys.items():
        key = read_public_key(path)
        if key not in known:
            state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, HEARTBEAT_DEFAULT_INTERVAL, name=name)


class SitesStayOutside:
    """Answers other machines on the nodes' interface alone, where every request is signed with a site's key.

    Args:
        app: the SuperLink's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "lifespan" or (scope.get("client") or ("",))[0] in _HERE
        path = scope.get("path", "")
        if here or (path.startswith(_OPEN) and ".." not in path):
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Commands are taken from the SuperLink's own machine.\n"})
