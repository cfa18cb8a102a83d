"""`python -m foundation.federation.deployment.superlink`: the SuperLink, its sites and its operators, by their keys."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

# Read by Flower when it is first imported: a hospital's server calls nobody.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

from foundation.command import command
from foundation.errors import UserError

if TYPE_CHECKING:
    from foundation.federation.deployment.control_client import SuperLink


@command("superlink")
def main(cfg: DictConfig) -> None:
    """Starts it, lists the nodes, admits or revokes a site's key, makes, admits or dismisses an operator's."""
    if cfg.action not in _ACTIONS:
        raise UserError(f"action: found {cfg.action!r}; give {', '.join(_ACTIONS)}")
    _ACTIONS[cfg.action](cfg)


def _start(cfg: DictConfig) -> None:
    from foundation.federation.deployment.control_client import ServerFolder
    from foundation.federation.deployment.ownership import check_owner
    from foundation.federation.deployment.superlink_app import start

    server = ServerFolder.load(cfg.server)
    check_owner(server.path, server.path / "superlink.key")
    start(server)


def _nodes(cfg: DictConfig) -> None:
    for node in _connect(cfg).nodes():
        print(f"{node.name:20} {node.status:14} {node.number}")


def _admit(cfg: DictConfig) -> None:
    from foundation.federation.deployment.admission import admit_request
    from foundation.federation.deployment.control_client import ServerFolder

    request = _required(cfg, "request", "request=NAME.csr with what the hospital sent")
    spoken = None if cfg.fingerprint is None else str(cfg.fingerprint)
    print(admit_request(ServerFolder.load(cfg.server), Path(request), spoken, _operator_key(cfg)))


def _revoke(cfg: DictConfig) -> None:
    site = _required(cfg, "site", "site=NAME with the hospital whose key is to be revoked")
    _connect(cfg).revoke(site)
    print(f"{site}: its key is refused from now on; it makes a new one with join rotate=true")


def _key(cfg: DictConfig) -> None:
    from foundation.federation.deployment.operators import make_key

    name, path = (
        _required(cfg, "operator", "operator=NAME"),
        Path(_required(cfg, "key", "key=FILE, of the key to make")),
    )
    print(
        f"{path}: your key; nobody else needs it. Let the SuperLink's owner admit {path}.pub ({make_key(path, name)})"
    )


def _operator(cfg: DictConfig) -> None:
    from foundation.federation.deployment.control_client import ServerFolder
    from foundation.federation.deployment.operators import admit_operator

    name, public = _required(cfg, "operator", "operator=NAME"), _required(cfg, "key", "key=FILE.pub, the operator's")
    print(f"{name}: may command from now on ({admit_operator(ServerFolder.load(cfg.server).path, name, Path(public))})")


def _dismiss(cfg: DictConfig) -> None:
    from foundation.federation.deployment.control_client import ServerFolder
    from foundation.federation.deployment.operators import dismiss_operator

    name = _required(cfg, "operator", "operator=NAME")
    dismiss_operator(ServerFolder.load(cfg.server).path, name)
    print(f"{name}: commands are refused from now on")


def _commands(cfg: DictConfig) -> None:
    from foundation.federation.deployment.command_gate import read_commands
    from foundation.federation.deployment.control_client import ServerFolder

    for line in read_commands(ServerFolder.load(cfg.server).path):
        print(line)


def _connect(cfg: DictConfig) -> "SuperLink":
    from foundation.federation.deployment.control_client import ServerFolder, connect

    return connect(ServerFolder.load(cfg.server), _operator_key(cfg))


def _operator_key(cfg: DictConfig) -> Path | None:
    return None if cfg.operator_key is None else Path(cfg.operator_key)


def _required(cfg: DictConfig, name: str, example: str) -> str:
    if cfg[name] is None:
        raise UserError(f"{name}: not given; say {example}")
    return str(cfg[name])


_ACTIONS: dict[str, Callable[[DictConfig], None]] = {
    "start": _start,
    "nodes": _nodes,
    "admit": _admit,
    "revoke": _revoke,
    "key": _key,
    "operator": _operator,
    "dismiss": _dismiss,
    "commands": _commands,
}

if __name__ == "__main__":
    main()
