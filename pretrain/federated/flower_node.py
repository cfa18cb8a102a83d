"""Flower's SuperNode, in a process that ends when its work does, and that asks for orders more often.

When an answer of the SuperLink cannot be mended (one failed request is enough), Flower's loop returns, but the process
lives on, connected to nothing. Ended, it can be started again. And Flower asks for orders every 3 s, which no setting
changes: twice a round, that is a good part of what a round costs beside training. And it takes a connection that breaks
off while TLS is set up for a wrong certificate: the node would end, and with it an update that waits to be sent.
"""

import os
import time
from types import SimpleNamespace

import httpx
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supernode import fleet_http_connection as connection
from flwr.supernode import start_client_internal as worker
from flwr.supernode.cli.flower_supernode import flower_supernode

_POLL_SECONDS = 0.5


def _sleep(seconds: float) -> None:
    time.sleep(min(seconds, _POLL_SECONDS))


def _patient() -> RetryInvoker:
    """Flower's retries, given up only where the SuperLink itself refuses or nobody vouches for it."""
    found = make_simple_http_retry_invoker()
    gives_up = found.should_giveup
    assert gives_up is not None

    def refused(error: Exception) -> bool:
        answered = isinstance(error, httpx.HTTPStatusError) or "certificate" in str(error).lower()
        return answered and gives_up(error)

    found.should_giveup = refused
    return found


if __name__ == "__main__":
    worker.time = SimpleNamespace(sleep=_sleep)  # type: ignore[assignment, attr-defined]
    connection.make_simple_http_retry_invoker = _patient  # type: ignore[attr-defined]
    flower_supernode()
    os._exit(1)
