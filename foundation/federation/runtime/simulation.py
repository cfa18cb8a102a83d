"""The engine of simulated sites: all on one machine, in Flower's simulation."""

import logging
import os
from pathlib import Path
from typing import Any

from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from foundation.federation.site.app import app as client_app


def simulate(server: ServerApp, sites: int, cores_per_site: int, gpus_per_site: float, home: Path) -> None:
    """Runs a server app and a node a site.

    Args:
        server: to run.
        sites: how many nodes.
        cores_per_site: CPU cores that a site's process takes; they run side by side as far as the machine has them.
        gpus_per_site: share of a GPU likewise.
        home: for Flower's state.
    """
    os.environ["FLWR_HOME"] = str(home.resolve())
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's future default, which it warns about
    # Ray's own is 15: beside anything else that a machine has to do, sites would not come to say who they are.
    os.environ.setdefault("RAY_worker_niceness", "0")
    logging.getLogger("flwr").setLevel(logging.WARNING)
    backend: Any = {
        "client_resources": {"num_cpus": cores_per_site, "num_gpus": gpus_per_site},
        "init_args": {"log_to_driver": False, "logging_level": "error", "include_dashboard": False},
    }
    run_simulation(server, client_app, num_supernodes=sites, backend_config=backend)
