"""The engine of deployed sites: the run is handed to the SuperLink, and its results lie here as in simulation."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from foundation.errors import NOT_DUE, NotDue, UserError
from foundation.federation.deployment.app_bundle import write_bundle
from foundation.federation.deployment.control_client import ServerFolder, SuperLink, connect
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.weights.lazy import LazySafetensors
from foundation.files import read_json, write_json
from foundation.release import installed_release

FOLDER = "deployment"  # within the run's
CONFIG, STATE = "config.yaml", "run.json"


def deploy(cfg: DictConfig, checkpoints: Checkpoints) -> LazySafetensors:
    """Runs the remaining rounds over the connected sites; gives the final weights.

    Args:
        cfg: the run's resolved config; `federation.server` is the SuperLink's folder.
        checkpoints: finished so far, or begun; the run's server process goes on from them and writes the others.

    Raises:
        UserError: if the SuperLink cannot be reached or goes away, a site is unknown to it, or the run fails.
    """
    folder = checkpoints.folder.resolve() / FOLDER
    key = cfg.federation.operator_key
    superlink = connect(ServerFolder.load(cfg.federation.server), None if key is None else Path(key))
    if (folder / STATE).is_file():
        superlink.stop(_read(folder)["run"])  # of a command that was cut short: the sites must not work for it
    _check_nodes(superlink, list(cfg.sites))
    folder.mkdir(parents=True, exist_ok=True)
    there = OmegaConf.merge(cfg, {"federation": {"server": str(Path(cfg.federation.server).resolve())}})
    OmegaConf.save(there, folder / CONFIG, resolve=True)
    run = superlink.start(write_bundle(installed_release(), checkpoints.config_digest, str(folder.parent)))
    write_json(folder / STATE, {"run": run, "config_digest": checkpoints.config_digest})
    try:
        for part in superlink.log(run):
            print(part, end="", flush=True)
    except KeyboardInterrupt:
        superlink.stop(run)
        raise
    _check(superlink, run, folder)
    weights = checkpoints.resume()
    if weights is None:
        raise UserError(f"{checkpoints.folder}: the run ended without a round; see {folder}")
    return weights


def finish(folder: Path, failure: str | None) -> None:
    """Notes, from the run's server process, how it ended.

    Args:
        folder: of the deployment.
        failure: the line to show to the user, if it failed.
    """
    write_json(folder / STATE, _read(folder) | {"ended": True, "failure": failure})


def _check_nodes(superlink: SuperLink, sites: list[str]) -> None:
    nodes = {node.name: node.status for node in superlink.nodes() if node.status != "unregistered"}
    for site in sites:
        if site not in nodes:
            raise UserError(
                f"sites: the SuperLink has no key of '{site}'; it admits {', '.join(sorted(nodes)) or 'nobody'}; "
                "add it with provision and start the SuperLink again"
            )
    away = [site for site in sites if nodes[site] != "online"]
    if away:
        print(f"not connected yet: {', '.join(away)}; bash start.sh in the folder of each", flush=True)


def _check(superlink: SuperLink, run: int, folder: Path) -> None:
    state = _read(folder)
    if state.get("failure"):
        failure = str(state["failure"])
        raise NotDue(failure) if failure.startswith(NOT_DUE) else UserError(failure)
    if not state.get("ended"):
        raise UserError(f"run {run}: {superlink.failure(run) or 'ended early'}; its lines above say more")


def _read(folder: Path) -> dict[str, Any]:
    return read_json(folder / STATE, "remove the folder to start anew", "run")
