"""Flower's SuperNode, in a process that ends when its work does, and that asks for orders more often.

When an answer of the SuperLink cannot be mended (one failed request is enough), Flower's loop returns, but the process
lives on, connected to nothing. Ended, it can be started again. And Flower asks for orders every 3 s, which no setting
changes: twice a round, that is a good part of what a round costs beside training. And it takes a connection that breaks
off while TLS is set up for a wrong certificate: the node would end, and with it an update that waits to be sent.
"""

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
from flwr.app import Message
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection as connection
from flwr.supernode import start_client_internal as worker
from flwr.supernode.cli.flower_supernode import flower_supernode

_POLL_SECONDS = 0.5
_flowers_pull, _flowers_push = worker._pull_and_store_message, worker._push_messages


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


class OneByOne:
    """One answer for each order, also after a run that was stopped in the middle of one.

    Flower keeps the task of an order whose run is stopped while it comes in, and the site's process then waits for a
    content that never comes. And it takes any answer that is there for that of the latest order: after a stray one, as
    is a second word on an order of a stopped run, the right one stays behind, and the node is one late for good.
    """

    def __init__(self) -> None:
        self._order = ""

    def pull(self, **given: Any) -> int | None:
        """Takes the next order; one whose run is stopped meanwhile leaves nothing behind."""
        receive = given["receive"]

        def noted() -> Any:
            found = receive()
            if found is not None:
                self._order = found[0].metadata.message_id
            return found

        given["receive"] = noted
        for name in ("pull_object", "confirm_message_received"):
            given[name] = _failing(given[name])
        return _flowers_pull(**given)

    def push(self, **given: Any) -> None:
        """Sends answers until that of the latest order is among them."""
        send, answered = given["send"], set()

        def noted(message: Message, *rest: Any) -> Any:
            answered.add(message.metadata.reply_to_message_id)
            return send(message, *rest)

        given["send"] = noted
        while self._order not in answered:
            _flowers_push(**given)


def _failing(call: Callable[..., Any]) -> Callable[..., Any]:
    """A stopped run as a failed request, after which Flower drops the order's task and content."""

    def called(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except RunNotRunningException as error:
            raise RuntimeError("the run was stopped") from error

    return called


if __name__ == "__main__":
    worker.time = SimpleNamespace(sleep=_sleep)  # type: ignore[assignment, attr-defined]
    orders = OneByOne()
    worker._pull_and_store_message, worker._push_messages = orders.pull, orders.push  # type: ignore[assignment]
    connection.make_simple_http_retry_invoker = _patient  # type: ignore[attr-defined]
    flower_supernode()
    os._exit(1)
