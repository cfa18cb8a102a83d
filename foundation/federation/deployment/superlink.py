"""`python -m foundation.federation.deployment.superlink`: the SuperLink, which knows the sites by their keys."""

import os
from pathlib import Path

from omegaconf import DictConfig

# Read by Flower when it is first imported: a hospital's server calls nobody.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

from foundation.command import command
from foundation.errors import UserError


@command("superlink")
def main(cfg: DictConfig) -> None:
    """Starts it, lists the nodes, admits a site's key, or revokes it for good."""
    from foundation.federation.deployment.control_client import ServerFolder, connect
    from foundation.federation.deployment.superlink_app import start

    folder = ServerFolder.load(cfg.server)
    if cfg.action == "nodes":
        for node in connect(folder).nodes():
            print(f"{node.name:20} {node.status:14} {node.number}")
    elif cfg.action == "revoke":
        if cfg.site is None:
            raise UserError("site: not given; say site=NAME with the hospital whose key is to be revoked")
        connect(folder).revoke(cfg.site)
        print(f"{cfg.site}: its key is refused from now on; it makes a new one with join rotate=true")
    elif cfg.action == "admit":
        from foundation.federation.deployment.admission import admit_request

        if cfg.request is None:
            raise UserError("request: not given; say request=NAME.csr with what the hospital sent")
        print(admit_request(folder, Path(cfg.request), None if cfg.fingerprint is None else str(cfg.fingerprint)))
    elif cfg.action == "start":
        start(folder)
    else:
        raise UserError(f"action: found {cfg.action!r}; give start, nodes, admit or revoke")


if __name__ == "__main__":
    main()
