"""The rounds of a run, on the engine that its config names."""

from omegaconf import DictConfig

from foundation.errors import UserError
from pretrain.federated.rounds import Rounds
from pretrain.federated.server_app import Federation, server_app
from pretrain.federated.stored import Arrays, StoredWeights

_KINDS = ("simulation", "serial", "deployment")


def run(cfg: DictConfig, rounds: Rounds) -> Arrays:
    """The final weights, those that travel.

    Args:
        cfg: the resolved config of `pretrain.federated`; `federation.kind` says where the sites are.
        rounds: begun, or finished so far.

    Raises:
        UserError: with the line of what ended the run.
    """
    match cfg.federation.kind:
        case "simulation":
            return _simulated(cfg, rounds)
        case "serial":
            return _serial(cfg, rounds)
        case "deployment":
            from pretrain.federated.deployment import deploy

            return deploy(cfg, rounds)
    raise UserError(f"federation.kind: found {cfg.federation.kind!r}; choose from {', '.join(_KINDS)}")


def _simulated(cfg: DictConfig, rounds: Rounds) -> Arrays:
    from pretrain.federated.simulation import simulate

    found: list[Arrays] = []
    failed: list[UserError] = []
    app = server_app(cfg, _latest(rounds), rounds, found.append, failed.append)
    engine = cfg.federation
    simulate(app, len(cfg.sites), engine.cores_per_site, engine.gpus_per_site, rounds.folder / "flower")
    if failed:
        raise failed[0]
    return found[0]


def _serial(cfg: DictConfig, rounds: Rounds) -> Arrays:
    from pretrain.federated.serial import SerialGrid

    nodes: dict[int, dict[str, bool | float | int | str]] = {
        number + 1: {"partition-id": number} for number in range(len(cfg.sites))
    }
    return Federation(cfg, SerialGrid(nodes), rounds).run(_latest(rounds))


def _latest(rounds: Rounds) -> Arrays:
    return rounds.resume() or StoredWeights(rounds.path(0))
