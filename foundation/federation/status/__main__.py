"""`python -m foundation.federation.status`: how a run stands, for the person on call and for Prometheus."""

import sys
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command
from foundation.errors import UserError
from foundation.federation.status.state import RunState, read_state
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
    if cfg.port is not None and cfg.output is not None:
        raise UserError("port: the page is served, not written; drop port or output")
    read = partial(_read, cfg)
    if cfg.port is not None:
        from foundation.federation.status.live import serve

        serve(read, cfg.port, None if cfg.token_file is None else Path(cfg.token_file))
        return
    state = read()
    text = _FORMATS[cfg.format](state)
    if cfg.output is None:
        print(text, end="")
    else:
        write_text(Path(cfg.output), text, PUBLIC)
    if state.phase in ("failed", "killed"):
        sys.exit(1)


def _read(cfg: DictConfig) -> RunState:
    nodes: dict[str, str] | None = None
    if cfg.server is not None:
        from foundation.federation.deployment.control_client import ServerFolder, connect

        key = None if cfg.operator_key is None else Path(cfg.operator_key)
        nodes = {node.name: node.status for node in connect(ServerFolder.load(cfg.server), key).nodes()}
    return read_state(Path(cfg.run), nodes)


if __name__ == "__main__":
    main()
