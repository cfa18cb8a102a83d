"""The rounds of a run, on the engine that its config names."""

from omegaconf import DictConfig

from foundation.errors import UserError
from foundation.federation.server.app import Federation, server_app
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.weights.types import Arrays

_KINDS = ("simulation", "serial", "deployment")


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
    simulate(app, len(cfg.sites), engine.cores_per_site, engine.gpus_per_site, checkpoints.folder / "flower")
    if failed:
        raise failed[0]
    return weights[0]


def _serial(cfg: DictConfig, checkpoints: Checkpoints) -> Arrays:
    from foundation.federation.runtime.in_process import SerialGrid

    nodes: dict[int, dict[str, bool | float | int | str]] = {
        number + 1: {"partition-id": number} for number in range(len(cfg.sites))
    }
    return Federation(cfg, SerialGrid(nodes), checkpoints).run(checkpoints.latest())
