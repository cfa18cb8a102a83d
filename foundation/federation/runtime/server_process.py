"""The run's server process, which the SuperLink starts: the same server app, on the run's folder."""

from pathlib import Path
from typing import cast

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from omegaconf import DictConfig, OmegaConf

from foundation.errors import UserError
from foundation.federation.deployment.control_client import ServerFolder, connect
from foundation.federation.deployment.flower_patches import ask_for_objects_often, inflate_once, send_objects_one_by_one
from foundation.federation.deployment.parcels import ParcelGrid
from foundation.federation.ledger.files import lock
from foundation.federation.ledger.seal import read_private, read_public
from foundation.federation.runtime.deployed import CONFIG, FOLDER, finish
from foundation.federation.server.app import server_app
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.server.receipts import ReceiptBook

app = ServerApp()
_TIMES = 4  # the weights, as large as an answer's arrays may be: an update, a control variate, in a wider format
_BESIDE = 256 << 20  # bytes of what an extension brings


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Goes on from the rounds that the run's folder holds, once an earlier process of them has ended."""
    send_objects_one_by_one()
    ask_for_objects_often()
    output = Path(str(context.run_config["run"]))
    path = output / FOLDER / "server.lock"
    with path.open("w") as file:
        lock(file.fileno(), path)
        _serve(output, cast(Grid, ParcelGrid(grid)), context)


def _serve(output: Path, grid: Grid, context: Context) -> None:
    cfg = OmegaConf.load(output / FOLDER / CONFIG)
    assert isinstance(cfg, DictConfig)
    checkpoints = Checkpoints(output, str(context.run_config["config-digest"]))
    failed: list[UserError] = []
    folder = ServerFolder.load(cfg.federation.server)
    keys = {name: read_public(path) for name, path in folder.keys().items()}
    book = ReceiptBook(folder.receipts, output, keys, read_private(folder.path / "superlink.key"))
    weights, admitted = checkpoints.latest(), connect(folder).admitted
    inflate_once(_TIMES * sum(value.nbytes for value in weights.values()) + _BESIDE)
    server_app(cfg, weights, checkpoints, lambda _: None, failed.append, admitted, book)(grid, context)
    finish(output / FOLDER, str(failed[0]) if failed else None)
