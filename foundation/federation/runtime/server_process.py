"""The run's server process, which the SuperLink starts: the same server app, on the run's folder."""

from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable import inflatable_utils
from omegaconf import DictConfig, OmegaConf

from foundation.errors import UserError
from foundation.federation.ledger.files import lock
from foundation.federation.runtime.deployed import CONFIG, FOLDER, finish
from foundation.federation.server.app import server_app
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.weights.types import Arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Goes on from the rounds that the run's folder holds, once an earlier process of them has ended."""
    inflatable_utils.push_object_contents_from_iterable = one_after_another
    output = Path(str(context.run_config["run"]))
    path = output / FOLDER / "server.lock"
    with path.open("w") as file:
        lock(file.fileno(), path)
        _serve(output, grid, context)


def _serve(output: Path, grid: Grid, context: Context) -> None:
    cfg = OmegaConf.load(output / FOLDER / CONFIG)
    assert isinstance(cfg, DictConfig)
    checkpoints = Checkpoints(output, str(context.run_config["config-digest"]))
    weights: Arrays = checkpoints.resume() or LazySafetensors(checkpoints.path(0))
    failed: list[UserError] = []
    server_app(cfg, weights, checkpoints, lambda _: None, failed.append)(grid, context)
    finish(output / FOLDER, str(failed[0]) if failed else None)


def one_after_another(
    object_contents: Iterable[tuple[str, bytes]],
    push_object_fn: Callable[[str, bytes], None],
    *,
    max_concurrent_pushes: int = 1,
) -> None:
    """Sends a message's objects, each made ready when the one before has gone.

    Flower makes all of them ready before the first has gone: a copy of the whole model.

    Args:
        object_contents: ids and bytes.
        push_object_fn: sends one.
        max_concurrent_pushes: Flower's; there is one.
    """
    for name, content in object_contents:
        push_object_fn(name, content)
