"""Flower's attributes that this project replaces: each with what that mends, and how to see the fault without it.

A patch holds for the process that applies it, and imports there what it patches: a server loads no node, and no node a
server. The tests of this module show each fault in Flower as it is, and fail when a release makes a patch unnecessary.
"""

import math
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import httpx
from flwr.app import Message

from foundation.federation.deployment.inflating import inflate, unreadable_message

_TIMES, _BESIDE = 16, 1 << 30  # what came in, and bytes: an order's arrays in memory
POLL_SECONDS = 0.5
SOON_SECONDS = 0.2  # between questions to the SuperLink while rounds go on: each costs it some 5 ms of its processor
HERE_SECONDS = 0.05  # between looks at what lies on this machine
_LATELY = 30.0  # seconds after an order in which another one is likely
# A request waits up to two minutes for another's write: Flower's 5 s fail where a large model is written, and cost a
# node its connection. Its 64 MB of cache and 256 MB of mapped file for each of many connections are a server's memory.
DATABASE = {"busy_timeout": "120000", "cache_size": "-4000", "mmap_size": "0"}


def ask_for_orders_often() -> None:
    """A node asks for orders every half second, and every fifth of one while rounds go on.

    Flower asks every 3 s, and looks every half second whether the site has answered, which no setting changes: twice a
    round, that is a good part of what a round costs beside training. Without the patch: the node's log shows an order
    up to 3 s after the server's shows that it went out.
    """
    from flwr.supernode import start_client_internal as node

    at_work = -math.inf

    def sleep(seconds: float) -> None:
        nonlocal at_work
        waits_for_the_site = seconds < 1
        if waits_for_the_site:
            at_work = time.monotonic()
        soon = SOON_SECONDS if time.monotonic() - at_work < _LATELY else POLL_SECONDS
        time.sleep(min(seconds, HERE_SECONDS if waits_for_the_site else soon))

    node.time = SimpleNamespace(sleep=sleep)  # type: ignore[assignment, attr-defined]


def ask_for_objects_often() -> None:
    """What is still on its way is asked for again after a twentieth of a second, and every fifth of one later.

    A message is told of before its objects are there. Flower asks again after 1 s, then after 2, 4, 8 and 10, which no
    setting changes, on each hop of each message. Without the patch: `python scripts/bench/federation_overhead.py` shows
    a round that costs ten seconds more.
    """
    from flwr.supercore.inflatable import inflatable_utils as objects

    waits = {"initial_backoff": 0.05, "backoff_cap": 0.2, "max_tries_per_object": None}  # two hours at most, as before
    for pull in (objects.pull_objects, objects.pull_and_inflate_object_from_tree):
        pull.__kwdefaults__ = {**(pull.__kwdefaults__ or {}), **waits}


def outlast_broken_handshakes() -> None:
    """A node gives up only where the SuperLink itself refuses, or nobody vouches for it.

    Flower takes a connection that breaks off while TLS is set up for a wrong certificate: the node ends, and with it an
    update that waits to be sent. Without the patch: cut the cable during a handshake, and the node's log ends with
    "SSL/TLS handshake error detected".
    """
    from flwr.supernode import fleet_http_connection as connection

    original = connection.make_simple_http_retry_invoker  # type: ignore[attr-defined]

    def outlasting() -> Any:
        invoker = original()
        gives_up: Any = invoker.should_giveup

        def refused(error: Exception) -> bool:
            answered = isinstance(error, httpx.HTTPStatusError) or "certificate" in str(error).lower()
            return answered and bool(gives_up(error))

        invoker.should_giveup = refused
        return invoker

    connection.make_simple_http_retry_invoker = outlasting  # type: ignore[attr-defined]


def pair_answers() -> None:
    """A node sends one answer for each order, also after a run that was stopped in the middle of one.

    Flower keeps the task of an order whose run is stopped while it comes in, and the site's process then waits for a
    content that never comes. And it takes any answer that is there for that of the latest order: after a stray one, as
    is a second word on an order of a stopped run, the right one stays behind, and the node is one late for good.
    Without the patch: stop a run while a large model is on its way to a node; the next run's rounds stay without it.
    """
    from flwr.supernode import start_client_internal as node

    pairing = AnswerPairing(node._pull_and_store_message, node._push_messages)
    node._pull_and_store_message, node._push_messages = pairing.pull, pairing.push  # type: ignore[assignment]


class AnswerPairing:
    """Flower's two steps of a node's loop, with each order paired with its own answer.

    Args:
        pull: Flower's step that takes an order.
        push: Flower's step that sends the answers that are there.
    """

    def __init__(self, pull: Callable[..., int | None], push: Callable[..., None]) -> None:
        self._pull = pull
        self._push = push
        self._order = ""

    def pull(self, **arguments: Any) -> int | None:
        """Takes the next order; one whose run is stopped meanwhile leaves nothing behind."""
        receive = arguments["receive"]

        def noting() -> Any:
            received = receive()
            if received is not None:
                self._order = received[0].metadata.message_id
            return received

        arguments["receive"] = noting
        for name in ("pull_object", "confirm_message_received"):
            arguments[name] = _failing(arguments[name])
        return self._pull(**arguments)

    def push(self, **arguments: Any) -> None:
        """Sends answers until that of the latest order is among them."""
        send, answered = arguments["send"], set()

        def noting(message: Message, *rest: Any) -> Any:
            answered.add(message.metadata.reply_to_message_id)
            return send(message, *rest)

        arguments["send"] = noting
        while self._order not in answered:
            self._push(**arguments)


def _failing(call: Callable[..., Any]) -> Callable[..., Any]:
    """A stopped run as a failed request, after which Flower drops the order's task and content."""
    from flwr.supercore.run import RunNotRunningException

    def called(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except RunNotRunningException as error:
            raise RuntimeError("the run was stopped") from error

    return called


def send_objects_one_by_one() -> None:
    """A message's objects are made ready one at a time, each when the one before has gone.

    Flower makes all of them ready before the first has gone: a copy of the whole model. Without the patch:
    `python scripts/bench/server_memory.py` shows one more model in the server process.
    """
    from flwr.supercore.inflatable import inflatable_utils

    def push(
        object_contents: Iterable[tuple[str, bytes]], push_object_fn: Callable[[str, bytes], None], **_: Any
    ) -> None:
        for name, content in object_contents:
            push_object_fn(name, content)

    inflatable_utils.push_object_contents_from_iterable = push


def inflate_once(most: int) -> None:
    """A message that comes in is put together from its objects with its arrays in memory once.

    Flower keeps every piece of an array until the whole message is there, beside the arrays themselves: a copy of the
    whole model. Without the patch: `python scripts/bench/server_memory.py` shows one more model in the server process.
    And what cannot be put together is a failure of the node that sent it; in Flower it ends the server's run.

    Args:
        most: bytes of a message's arrays; an array that names one piece a million times would end the server's process.
    """
    from flwr.superlink.grid import http_grid

    def inflate_message(object_id: str, object_contents: dict[str, bytes]) -> Message:
        try:
            message = inflate(object_id, object_contents, most)
            if isinstance(message, Message):
                return message
            reason = "no message"
        except Exception as error:  # noqa: BLE001 - whatever a node's bytes make of Flower's reader costs it its answer
            reason = type(error).__name__
        return unreadable_message(f"its answer cannot be read ({reason})")

    http_grid.inflate_object_from_contents = inflate_message  # type: ignore[assignment, attr-defined]


def inflate_in_bounds() -> None:
    """A site's order becomes no larger in memory than some times what came in.

    Pieces of large arrays of zeros are the same, and travel once; but an array may name one piece a million times.
    Without the patch: such an order of 20 kB ends processes of the hospital's machine for want of memory.
    """
    from flwr.supercore.inflatable import inflatable_utils

    def inflate_order(object_id: str, object_contents: dict[str, bytes], **_: Any) -> Any:
        return inflate(object_id, object_contents, _TIMES * sum(map(len, object_contents.values())) + _BESIDE)

    inflatable_utils.inflate_object_from_contents = inflate_order


def share_database() -> None:
    """The SuperLink opens its database with `DATABASE` in the place of Flower's own settings of these names.

    Without the patch: several nodes that send a large model at once end with "database is locked" in the SuperLink's
    log, and its resident memory grows by the mapped file.
    """
    from flwr.supercore import sql_mixin

    settings = dict(sql_mixin.SQLITE_PRAGMAS) | DATABASE  # type: ignore[attr-defined]
    sql_mixin.SQLITE_PRAGMAS = tuple(settings.items())  # type: ignore[attr-defined, assignment]


def prepare_superlink(prepare: Callable[[Any], None]) -> None:
    """The SuperLink's web app is prepared before it serves.

    Flower's open edition admits keys only by a command to a SuperLink that runs, and takes commands (start a run, admit
    a key) from whoever reaches its port; it offers no place for a middleware. Without the patch: `flwr ls` from another
    machine lists the runs.

    Args:
        prepare: called with the app.
    """
    from flwr.superlink import main as superlink

    create = superlink.create_app

    def create_app(*arguments: Any, **settings: Any) -> Any:
        app = create(*arguments, **settings)
        prepare(app)
        return app

    superlink.create_app = create_app


def identify_process() -> None:
    """Lets this process make messages, as the server of run 1.

    Flower gives a process its identity together with a task of the SuperLink or of the simulation. Without the patch:
    `federation=serial` ends with "TaskIdentity.run_id is not set".
    """
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
