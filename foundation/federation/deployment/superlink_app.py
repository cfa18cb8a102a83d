"""Flower's SuperLink as this project runs it: the sites' keys admitted, its commands taken from operators here."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.superlink.cli.flower_superlink import flower_superlink

from foundation.errors import UserError
from foundation.federation.deployment.command_gate import OperatorsCommand, SitesStayOutside
from foundation.federation.deployment.control_client import ServerFolder
from foundation.federation.deployment.flower_patches import prepare_superlink, share_database
from foundation.federation.deployment.pki import days_left, read_public_key

_WARN_DAYS = 60


def start(folder: ServerFolder) -> None:
    """Serves until interrupted; what was registered and run lies in a SQLite file.

    Flower's open edition takes commands (start a run, admit a key) from whoever reaches its port. Here they are taken
    from this machine alone, and from operators; to others, the interface of the nodes is all there is.
    """
    logging.getLogger("flwr").propagate = False  # it prints by itself; Hydra's handler would say it again
    keys = folder.keys()
    for certificate in (folder.path / "superlink.pem", folder.certificate):
        _check_days(certificate)

    def prepare(app: Any) -> None:
        admit(app.state.linkstate_factory.state(), keys)
        app.add_middleware(OperatorsCommand, folder=folder.path)
        app.add_middleware(SitesStayOutside)  # the last one added is asked first

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


def _check_days(certificate: Path) -> None:
    left = days_left(certificate)
    again = "run provision again, with renew=true for a new authority, which the sites must take first"
    if left <= 0:
        raise UserError(f"{certificate}: ended {-left:.0f} days ago, so no site trusts it; {again}")
    if left < _WARN_DAYS:
        print(f"{certificate}: ends in {left:.0f} days; {again}", file=sys.stderr)


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
