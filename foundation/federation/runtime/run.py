"""The rounds of a run, on the engine that its config names."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from foundation.errors import UserError
from foundation.federation.server.app import Federation, server_app
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.site.config import CONFIG, SIMULATION
from foundation.federation.weights.types import Arrays

DEPLOYMENT = "deployment"
_KINDS = ("simulation", "serial", DEPLOYMENT)


def run(cfg: DictConfig, checkpoints: Checkpoints) -> Arrays:
    """The final weights, those that travel.

    Args:
        cfg: the run's resolved config; `federation.kind` says where the sites are.
        checkpoints: begun, or finished so far.

    Raises:
        UserError: with the line of what ended the run.
    """
    match cfg.federation.kind:
        case "simulation":
            return _simulated(cfg, checkpoints)
        case "serial":
            return _serial(cfg, checkpoints)
        case "deployment":
            from foundation.federation.runtime.deployed import deploy

            return deploy(cfg, checkpoints)
    raise UserError(f"federation.kind: found {cfg.federation.kind!r}; choose from {', '.join(_KINDS)}")


def _simulated(cfg: DictConfig, checkpoints: Checkpoints) -> Arrays:
    from foundation.federation.runtime.simulation import simulate

    weights: list[Arrays] = []
    failed: list[UserError] = []
    app = server_app(cfg, checkpoints.latest(), checkpoints, weights.append, failed.append)
    engine = cfg.federation
    os.environ[SIMULATION] = str(_sites(cfg, checkpoints))
    simulate(app, len(cfg.sites), engine.cores_per_site, engine.gpus_per_site, checkpoints.folder / "flower")
    if failed:
        raise failed[0]
    return weights[0]


def _serial(cfg: DictConfig, checkpoints: Checkpoints) -> Arrays:
    from foundation.federation.runtime.in_process import SerialGrid

    folder = str(_sites(cfg, checkpoints))
    nodes: dict[int, dict[str, bool | float | int | str]] = {
        number + 1: {"partition-id": number, "simulation": folder} for number in range(len(cfg.sites))
    }
    return Federation(cfg, SerialGrid(nodes), checkpoints).run(checkpoints.latest())


def _sites(cfg: DictConfig, checkpoints: Checkpoints) -> Path:
    """The folder of the sites that this machine simulates, with the config on whose settings they train.

    Where it is kept from run to run, with ledgers and lists, it stands in the run's folder as a link.
    """
    folder, kept = checkpoints.folder / "sites", cfg.federation.get("homes")
    if kept is not None:
        Path(kept).mkdir(parents=True, exist_ok=True)
        if not folder.is_symlink():
            folder.symlink_to(Path(kept).resolve(), target_is_directory=True)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, folder / CONFIG, resolve=True)
    return folder
