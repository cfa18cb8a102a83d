"""`python -m foundation.federation.status`: how a run stands, for the person on call and for Prometheus."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command
from foundation.errors import UserError
from foundation.federation.status.state import read_state
from foundation.federation.status.text import as_prometheus, in_words
from foundation.files import PUBLIC, write_text

_FORMATS = {"text": in_words, "prometheus": as_prometheus}


@command("status")
def main(cfg: DictConfig) -> None:
    """Sites, round, progress, last errors, next deadline, next command; code 1 where the run needs somebody."""
    if cfg.run is None:
        raise UserError("run: not given; say run=FOLDER with the run's output folder")
    if cfg.format not in _FORMATS:
        raise UserError(f"format: found {cfg.format!r}; choose from {', '.join(_FORMATS)}")
    nodes: dict[str, str] | None = None
    if cfg.server is not None:
        from foundation.federation.deployment.control_client import ServerFolder, connect

        nodes = {node.name: node.status for node in connect(ServerFolder.load(cfg.server)).nodes()}
    state = read_state(Path(cfg.run), nodes)
    text = _FORMATS[cfg.format](state)
    if cfg.output is None:
        print(text, end="")
    else:
        write_text(Path(cfg.output), text, PUBLIC)
    if state.phase in ("failed", "killed"):
        sys.exit(1)


if __name__ == "__main__":
    main()
