"""The pool of workers, with workers that hold no model: batches, deaths, time limits, budgets."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.modalities.request import RequestError
from serve.asgi.pool import Limits, Pool
from serve.host import Call, Reply

pytestmark = pytest.mark.process
STUB = [sys.executable, str(Path(__file__).with_name("stub_worker.py"))]


def with_pool(limits: Limits, use: Callable[[Pool], Awaitable[Any]], program: list[str] = STUB) -> Any:
    async def run() -> Any:
        pool = Pool(program, limits)
        await pool.start()
        try:
            return await use(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


def call(body: bytes) -> Call:
    return Call(body, {}, body.decode())


async def ask(pool: Pool, *bodies: bytes) -> list[Reply]:
    return await asyncio.gather(*(pool.answer(call(body)) for body in bodies))


def parts(replies: list[Reply]) -> list[bytes]:
    """Bodies and batch sizes, without the worker's number."""
    return [reply.body.partition(b" by ")[0] for reply in replies]


def test_pool_gives_what_waits_to_a_free_worker_together():
    async def use(pool: Pool) -> list[Reply]:
        first = asyncio.create_task(pool.answer(call(b"slow")))
        await asyncio.sleep(0.1)
        return [*await ask(pool, b"a", b"b", b"c", b"d"), await first]

    replies = with_pool(Limits(batch_size=3), use)
    assert parts(replies) == [b"a of 3", b"b of 3", b"c of 3", b"d of 1", b"slow of 1"]


def test_pool_gives_large_requests_less_company():
    """Each may hold an image that takes seconds: a full batch of them would keep others from theirs for a minute."""
    large = b"x" * 5_000

    async def use(pool: Pool) -> list[Reply]:
        first = asyncio.create_task(pool.answer(call(b"slow")))
        await asyncio.sleep(0.1)
        bodies = [large, large, b"a", large, b"b", *[b"c"] * 9]
        replies = await asyncio.gather(*(pool.answer(Call(body, {}, "r")) for body in bodies))
        return [await first, *replies]

    texts = parts(with_pool(Limits(batch_size=8), use))
    assert [int(text.rpartition(b"of ")[2]) for text in texts] == [1, 2, 2, *[5] * 3, *[5] * 2, *[7] * 7]


def test_pool_gives_an_explanation_to_a_worker_alone_after_the_answers_that_wait():
    async def use(pool: Pool) -> list[Reply]:
        first = asyncio.create_task(pool.answer(call(b"slow")))
        await asyncio.sleep(0.1)
        asks = [call(b"one"), Call(b"why", {"explain": "True"}, "why"), call(b"two"), call(b"three")]
        replies = await asyncio.gather(*map(pool.answer, asks))
        return [await first, *replies]

    texts = parts(with_pool(Limits(), use))
    assert texts == [b"slow of 1", b"one of 3", b"why of 1", b"two of 3", b"three of 3"]


def test_a_sender_of_many_explanations_keeps_nobody_from_an_answer():
    why = Call(b"slow", {"explain": "True"}, "why")

    async def use(pool: Pool) -> tuple[list[Any], bytes, int]:
        many = [asyncio.create_task(pool.answer(why)) for _ in range(12)]
        await asyncio.sleep(0.1)
        reply = await pool.answer(call(b"a"))
        before = sum(one.done() and one.exception() is None for one in many)
        return await asyncio.gather(*many, return_exceptions=True), reply.body, before

    explained, body, before = with_pool(Limits(waiting=16), use)
    refused = [one for one in explained if isinstance(one, RequestError)]
    assert body.startswith(b"a of 1") and before <= 1
    assert {one.status for one in refused} == {429} and len(refused) >= 7
    assert all(reply.status == 200 for reply in explained if reply not in refused)


def test_pool_shares_what_waits_among_free_workers():
    async def use(pool: Pool) -> list[Reply]:
        while pool.ready_workers < 2:
            await asyncio.sleep(0.05)
        return await ask(pool, b"slow", b"slow", b"a", b"b")

    replies = with_pool(Limits(workers=2), use)
    assert parts(replies) == [b"slow of 2", b"slow of 2", b"a of 2", b"b of 2"]


def test_pool_refuses_alone_what_ends_workers_and_answers_its_neighbours():
    async def use(pool: Pool) -> tuple[list[Reply], int]:
        first = asyncio.create_task(pool.answer(call(b"slow")))
        await asyncio.sleep(0.1)
        replies = await ask(pool, b"a", b"die", b"b")
        await first
        return replies, pool.restarts

    replies, restarts = with_pool(Limits(), use)
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert json.loads(replies[1].body)["request_id"] == "die"
    assert restarts == 3  # with the others, then twice alone


def test_pool_replaces_an_idle_worker_that_was_killed():
    async def use(pool: Pool) -> tuple[list[Reply], list[int]]:
        (before,) = await ask(pool, b"a")
        maker = pool._makes.pid
        assert maker is not None
        os.kill(maker, signal.SIGSTOP)  # else the next one would be there before anybody saw that one is missing
        os.kill(int(before.body.split()[-1]), signal.SIGKILL)
        ready = []
        while not ready or not ready[-1]:
            await asyncio.sleep(0.02)
            if not ready or ready[-1] != pool.ready_workers:
                ready.append(pool.ready_workers)
            if ready == [1]:
                ready = []
            if ready:
                os.kill(maker, signal.SIGCONT)
        return await ask(pool, b"b"), ready

    replies, ready = with_pool(Limits(), use)
    assert parts(replies) == [b"b of 1"]
    assert ready == [0, 1]


def test_pool_gives_up_on_time():
    replies = with_pool(Limits(response_seconds=0.3), lambda pool: ask(pool, b"hang"))
    assert replies[0].status == 503
    assert json.loads(replies[0].body)["reason"] == "not answered within 0.3 s"


@pytest.mark.parametrize(
    ("seconds", "bodies"), [(6, b"a b hang"), pytest.param(12, b"hang a b", marks=pytest.mark.slow)]
)
def test_a_request_that_hangs_costs_those_of_its_batch_no_answer(seconds: float, bodies: bytes):
    async def use(pool: Pool) -> list[Reply]:
        first = asyncio.create_task(pool.answer(call(b"slow")))
        await asyncio.sleep(0.1)
        asked = {body: asyncio.create_task(pool.answer(call(body))) for body in bodies.split()}
        await first
        return [await asked[b"a"], await asked[b"b"]]

    assert parts(with_pool(Limits(response_seconds=seconds), use)) == [b"a of 1", b"b of 1"]


@pytest.mark.parametrize("body", [b"babble", b"lost"])
def test_a_worker_that_answers_in_no_frame_is_replaced(body: bytes):
    async def use(pool: Pool) -> list[Reply]:
        return [*await ask(pool, body), *await ask(pool, b"a")]

    replies = with_pool(Limits(), use)
    assert [reply.status for reply in replies] == [500, 200]
    assert parts(replies[1:]) == [b"a of 1"]


def test_pool_has_room_for_so_many_bytes():
    async def use(pool: Pool) -> list[int | None]:
        first = pool.reserve(60)
        second = pool.reserve(60)
        pool.release(60)
        return [error and error.status for error in (first, second, pool.reserve(60))]

    assert with_pool(Limits(waiting_bytes=100), use) == [None, 429, None]


@pytest.mark.parametrize("name", ["workers", "batch_size", "waiting", "waiting_bytes", "response_seconds"])
def test_limits_of_nothing_are_refused(name: str):
    with pytest.raises(UserError, match=f"{name}: found 0; give more than 0"):
        Limits(**{name: 0})


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("workers", 1.5, "give a whole number"),
        ("batch_size", 1.5, "give a whole number"),
        ("waiting", True, "give more than 0"),
        ("waiting_bytes", 1e6, "give a whole number"),
        ("response_seconds", float("nan"), "give more than 0"),
        ("start_seconds", float("inf"), "give more than 0"),
    ],
)
def test_limits_that_are_no_count_or_time_are_refused(name: str, value: float, advice: str):
    with pytest.raises(UserError, match=f"{name}: found .*; {advice}"):
        Limits(**{name: value})


def test_pool_does_not_start_where_no_worker_does():
    with pytest.raises(EOFError):
        with_pool(Limits(), lambda pool: ask(pool, b"a"), [sys.executable, "-c", "raise SystemExit(2)"])
