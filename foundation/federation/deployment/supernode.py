"""`python -m foundation.federation.deployment.supernode`: a hospital's node, next to its data."""

import logging
import os
import signal
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig

# Read by Flower when it is first imported: a hospital's node talks to its SuperLink and to nobody else.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

from foundation.command import command
from foundation.errors import UserError
from foundation.ports import check_port


@command("supernode")
def main(cfg: DictConfig) -> None:
    """Connects to the SuperLink and answers its orders until interrupted."""
    from foundation.federation.deployment.orders import answer_orders
    from foundation.federation.deployment.ownership import check_owner
    from foundation.federation.deployment.registration import only_one
    from foundation.federation.site.config import Site

    logging.getLogger("httpx").setLevel(logging.WARNING)
    site_file = Path(cfg.site).resolve()
    site = Site.load(site_file)
    for key in ("certificate", "key", "secret"):
        if not Path(cfg[key]).is_file():
            raise UserError(f"{key}: {cfg[key]} is missing; use the folder that provision wrote for this site")
    check_owner(site_file.parent, Path(cfg.key), Path(cfg.secret))
    check_port(cfg.port)
    signal.signal(signal.SIGTERM, _interrupt)
    with only_one(site.state):
        try:
            answer_orders(cfg, site, site_file)
        except KeyboardInterrupt:
            print(f"{site.name}: stopped")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
