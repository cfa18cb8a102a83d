"""Flower's SuperNode, in a process that ends when its work does, and that asks for orders more often.

When an answer of the SuperLink cannot be mended (one failed request is enough), Flower's loop returns, but the process
lives on, connected to nothing. Ended, it can be started again. And Flower asks for orders every 3 s, which no setting
changes: twice a round, that is a good part of what a round costs beside training.
"""

import os
import time
from types import SimpleNamespace

from flwr.supernode import start_client_internal as worker
from flwr.supernode.cli.flower_supernode import flower_supernode

_POLL_SECONDS = 0.5


def _sleep(seconds: float) -> None:
    time.sleep(min(seconds, _POLL_SECONDS))


if __name__ == "__main__":
    worker.time = SimpleNamespace(sleep=_sleep)  # type: ignore[assignment, attr-defined]
    flower_supernode()
    os._exit(1)
