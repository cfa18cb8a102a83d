"""Each patch of Flower: Flower as it is has the fault (else the patch can go), and the patched Flower has it not."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run, RunNotRunningException
from flwr.superlink.grid import http_grid
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.nodestate import NodeStateFactory

from foundation.federation.deployment import flower_patches
from tests.foundation.federation.deployment.flower_restored import restore_flower


@pytest.fixture(autouse=True)
def flower(monkeypatch: pytest.MonkeyPatch) -> None:
    restore_flower(monkeypatch)


def waits_between_questions(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that a node waits after a SuperLink had no order for it."""
    waits: list[float] = []

    @contextmanager
    def connection(**_: Any) -> Iterator[tuple[Any, ...]]:
        yield (1, lambda: None, *([None] * 6))

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(start_client_internal, "_init_connection", connection)
        patch.setattr(start_client_internal, "register_signal_handlers", lambda **_: None)
        patch.setattr(time, "sleep", sleep)
        start_client_internal.start_client_internal(
            state_factory=NodeStateFactory(ObjectStoreFactory()),
            server_address="127.0.0.1:1",
            node_config={},
            insecure=True,
            isolation="process",
        )
    return waits[0]


def test_a_node_asks_for_orders_every_half_second(monkeypatch: pytest.MonkeyPatch):
    assert waits_between_questions(monkeypatch) > 2
    flower_patches.ask_for_orders_often()
    assert waits_between_questions(monkeypatch) == flower_patches.POLL_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        start_client_internal.time.sleep(0.5)  # as it waits for the answer to an order
    assert waits_between_questions(monkeypatch) == flower_patches.SOON_SECONDS, "another may come soon"


def waits_for_an_object(monkeypatch: pytest.MonkeyPatch, times: int) -> list[float]:
    """Seconds between questions for an object that comes after so many."""
    waits: list[float] = []

    class Passing(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    def pull(_: str) -> bytes:
        if len(waits) < times:
            raise inflatable_utils.ObjectUnavailableError("on its way")
        return b"content"

    with monkeypatch.context() as patch:
        patch.setattr(inflatable_utils, "threading", SimpleNamespace(Event=Passing, Lock=threading.Lock))
        assert inflatable_utils.pull_objects(["one"], pull) == {"one": b"content"}
    return waits


def test_an_object_on_its_way_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch):
    assert sum(waits_for_an_object(monkeypatch, 3)) > 5
    flower_patches.ask_for_objects_often()
    assert sum(waits_for_an_object(monkeypatch, 3)) < 0.5
    assert 0.1 <= waits_for_an_object(monkeypatch, 600)[-1] <= 0.3, "a large one may take long"


@pytest.fixture
def hanging_up() -> Iterator[str]:
    """A port that takes connections, and hangs up in the middle of a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1)
                connection.shutdown(socket.SHUT_WR)  # in order: what is lost is the rest of the handshake
                connection.recv(1 << 16)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def tries(url: str) -> int:
    """How often a node asks at a URL before it gives up, of three times at most."""
    asked = []
    invoker = fleet_http_connection.make_simple_http_retry_invoker()
    invoker.max_tries, invoker.wait_function = 3, lambda _: None

    def ask() -> None:
        asked.append(url)
        httpx.get(url)

    with pytest.raises(httpx.ConnectError):
        invoker.invoke(ask)
    return len(asked)


def test_a_node_outlasts_a_handshake_that_breaks_off(hanging_up: str):
    assert tries(hanging_up) == 1
    flower_patches.outlast_broken_handshakes()
    assert tries(hanging_up) == 3


def test_a_node_gives_up_where_nobody_vouches_for_the_superlink():
    flower_patches.outlast_broken_handshakes()
    gives_up = fleet_http_connection.make_simple_http_retry_invoker().should_giveup
    assert gives_up(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"))


def order(number: str, reply: bool = False) -> Message:
    """A message to a node, or the node's answer to it."""
    flower_patches.identify_process()
    message = Message(RecordDict(), 1, "train")
    message.metadata.__dict__["_message_id"] = number
    return Message(RecordDict(), reply_to=message) if reply else message


def tasks_left() -> set[int]:
    """The tasks that a node holds once it has pulled an order whose run was stopped while it came in."""
    tasks: set[int] = set()
    state = SimpleNamespace(
        get_run=Run.create_empty,
        create_task=lambda **_: tasks.add(3) or 3,
        store_message=lambda _: None,
        delete_messages=lambda **_: None,
        finish_task=lambda task, **_: tasks.remove(task),
    )

    def stopped(*_: Any) -> None:
        raise RunNotRunningException

    pulled = start_client_internal._pull_and_store_message(
        state=state,
        object_store=SimpleNamespace(preregister=lambda *_: [], delete=lambda _: None),
        node_config={},
        receive=lambda: (order("new"), None),
        get_run=Run.create_empty,
        get_fab=None,
        pull_object=stopped,
        confirm_message_received=stopped,
        trusted_entities=None,
    )
    assert pulled is None
    return tasks


def test_an_order_whose_run_is_stopped_leaves_no_task():
    assert tasks_left() == {3}
    flower_patches.pair_answers()
    assert tasks_left() == set()


def answers_sent() -> list[str]:
    """The orders that a node answers after it took `new`, while a second answer to `old` lies there."""
    waiting = [[order("old", reply=True)], [order("new", reply=True)]]
    sent: list[str] = []

    def send(message: Message, *_: Any) -> tuple[set[str], str]:
        sent.append(message.metadata.reply_to_message_id)
        return set(), ""

    state = SimpleNamespace(
        get_run=Run.create_empty,
        create_task=lambda **_: 3,
        store_message=lambda _: None,
        get_messages_legacy=lambda **_: waiting.pop(0),
        get_message_processing_duration=lambda **_: 0.0,
        delete_messages=lambda **_: None,
    )
    store = SimpleNamespace(
        preregister=lambda *_: [], get_object_tree=lambda _: get_object_tree(order("new")), delete=lambda _: None
    )
    start_client_internal._pull_and_store_message(
        state=state,
        object_store=store,
        node_config={},
        receive=lambda: (order("new"), None),
        get_run=Run.create_empty,
        get_fab=None,
        pull_object=None,
        confirm_message_received=lambda *_: None,
        trusted_entities=None,
    )
    start_client_internal._push_messages(state=state, object_store=store, send=send, push_object=None)
    return sent


def test_a_node_sends_the_answer_of_its_order_also_after_a_stray_one():
    assert answers_sent() == ["old"]
    flower_patches.pair_answers()
    assert answers_sent() == ["old", "new"]


def most_made_ready() -> int:
    """How many of ten objects were made ready, and not yet sent, at one time."""
    ready, most = 0, 0
    lock = threading.Lock()

    def contents() -> Iterator[tuple[str, bytes]]:
        nonlocal ready, most
        for number in range(10):
            with lock:
                ready += 1
                most = max(most, ready)
            yield str(number), b""

    def push(name: str, content: bytes) -> None:
        nonlocal ready
        time.sleep(0.02)
        with lock:
            ready -= 1

    inflatable_utils.push_object_contents_from_iterable(contents(), push)
    assert ready == 0
    return most


def test_objects_are_made_ready_one_by_one():
    assert most_made_ready() > 5
    flower_patches.send_objects_one_by_one()
    assert most_made_ready() == 1


def megabytes_inflated(arrays: ArrayRecord) -> float:
    """Memory that putting a message together takes at most, beyond the objects that it is made of."""
    message = Message(RecordDict({"arrays": arrays, "again": arrays}), 1, "train")
    tracemalloc.start()
    try:
        contents = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        inflated = http_grid.inflate_object_from_contents(message.object_id, contents)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for record in inflated.content.array_records.values():
        assert {name: array.data for name, array in record.items()} == {n: a.data for n, a in arrays.items()}
    return (most - before) / 1e6


def test_a_message_is_put_together_without_a_second_copy_of_its_arrays():
    flower_patches.identify_process()
    rng = np.random.default_rng(0)
    values = [np.zeros(8_000_000, np.uint8), *rng.integers(0, 256, (6, 8_000_000), np.uint8)]
    arrays = ArrayRecord({str(number): Array(value) for number, value in enumerate([*values, values[0]])})
    assert megabytes_inflated(arrays) > 50
    flower_patches.inflate_once(1 << 30)
    assert megabytes_inflated(arrays) < 30


def test_a_process_without_a_task_makes_messages():
    with pytest.raises(RuntimeError, match="TaskIdentity"):
        Message(RecordDict(), 1, "train")
    flower_patches.identify_process()
    assert Message(RecordDict(), 1, "train").metadata.src_node_id == 1
