"""The process that workers are copied from: made anew where it dies, and nothing of a request in it."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from serve import manifest
from serve.asgi import forking, worker
from serve.asgi.fork_server import ForkServer
from serve.asgi.pool import Limits, Pool
from serve.host import Call
from tests.serve.asgi.test_pool import STUB, ask, with_pool

pytestmark = pytest.mark.process
WORD = b"Kryptonite"


def with_maker(use: Callable[[ForkServer], Awaitable[Any]], program: list[str] = STUB) -> Any:
    async def run() -> Any:
        makes = ForkServer(program, 60)
        await makes.start()
        try:
            return await use(makes)
        finally:
            await makes.end()

    return asyncio.run(run())


def holds(pid: int, word: bytes) -> bool:
    """Whether a word stands anywhere in the memory of a process."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            ends, rights, *_ = line.split()
            if not rights.startswith("rw") or line.rstrip().endswith("[vvar]"):
                continue
            start, end = (int(text, 16) for text in ends.split("-"))
            memory.seek(start)
            if word in memory.read(end - start):
                return True
    return False


def test_many_workers_die_and_are_replaced_while_their_maker_goes_on() -> None:
    async def use(pool: Pool) -> tuple[set[int], set[int]]:
        makers, workers = set(), set()
        for _ in range(20):
            (reply,) = await ask(pool, b"a")
            workers.add(int(reply.body.split()[-1]))
            makers.add(pool._makes.pid or 0)
            os.kill(int(reply.body.split()[-1]), signal.SIGKILL)
        return makers, workers

    makers, workers = with_pool(Limits(), use)
    assert (len(makers), len(workers)) == (1, 20)


def test_workers_answer_while_their_maker_is_dead_and_the_next_are_made_by_another() -> None:
    async def use(pool: Pool) -> tuple[int, int, list[int]]:
        first = pool._makes.pid
        assert first is not None
        (reply,) = await ask(pool, b"a")
        os.kill(first, signal.SIGKILL)
        (still,) = await ask(pool, b"a")
        os.kill(int(still.body.split()[-1]), signal.SIGKILL)  # before another maker is there
        (last,) = await ask(pool, b"a")
        return first, pool._makes.pid or 0, [int(one.body.split()[-1]) for one in (reply, still, last)]

    first, second, answered = with_pool(Limits(), use)
    assert first != second
    assert answered[0] == answered[1] != answered[2]


def test_a_pool_leaves_no_process() -> None:
    async def use(pool: Pool) -> list[int]:
        replies = await ask(pool, b"a", b"b")
        return [pool._makes.pid or 0, *(int(reply.body.split()[-1]) for reply in replies)]

    assert not [pid for pid in with_pool(Limits(workers=2), use) if _runs(pid)]


def test_workers_and_their_maker_end_where_the_front_is_killed() -> None:
    script = """
import asyncio, os, signal, sys
from serve.asgi.fork_server import ForkServer

async def run():
    makes = ForkServer(sys.argv[1:], 60)
    await makes.start()
    print(makes.pid, (await makes.fork()).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(run())
"""

    async def use() -> list[int]:
        pipe = asyncio.subprocess.PIPE
        front = await asyncio.create_subprocess_exec(sys.executable, "-c", script, *STUB, stdout=pipe)
        said, _ = await front.communicate()
        return [int(text) for text in said.split()]

    for pid in asyncio.run(use()):
        for _ in range(250):
            if not _runs(pid):
                break
            asyncio.run(asyncio.sleep(0.02))
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_system_without_handles_of_processes_is_refused_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forking.check()

    def unknown(pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    with pytest.raises(UserError, match="Linux 5.3"):
        forking.check()
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(UserError, match="Linux 5.3"):
        forking.check()


def test_a_worker_that_cannot_be_made_is_said_and_the_maker_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "short.py"
    script.write_text(f"""
import os, sys
sys.path.insert(0, {str(Path(STUB[1]).parent)!r})
import stub_worker
from serve.asgi import forking
fork, calls = os.fork, []

def short():
    calls.append(1)
    if len(calls) == 1:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

os.fork = short
forking.serve(stub_worker.work)
""")

    async def use(makes: ForkServer) -> tuple[int | None, int | None]:
        before = makes.pid
        with pytest.raises(EOFError, match="Resource temporarily unavailable"):
            await makes.fork()
        made = await makes.fork()
        assert (await made.ask([Call(b"a", {}, "r")]))[0].status == 200
        await made.end(gently=True)
        return before, makes.pid

    before, after = with_maker(use, [sys.executable, str(script)])
    assert before == after


def test_who_waits_for_a_worker_learns_that_there_will_be_none() -> None:
    async def use(makes: ForkServer) -> BaseException | None:
        assert makes.pid is not None
        os.kill(makes.pid, signal.SIGSTOP)
        waits = [asyncio.ensure_future(makes.fork()) for _ in range(2)]
        await asyncio.sleep(0.05)
        os.kill(makes.pid, signal.SIGKILL)
        await makes.end()
        first, second = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(first, EOFError | OSError)
        return second

    assert isinstance(with_maker(use), EOFError | OSError)


def test_the_model_is_loaded_by_one_thread_and_no_request_reaches_its_maker(bundle: Path) -> None:
    """A copy of a process with threads would wait for locks that they hold."""
    body = b'{"report": "' + WORD + b' of high grade."}'

    async def use(makes: ForkServer) -> tuple[int, bool, bool]:
        assert makes.pid is not None
        threads = len(list(Path(f"/proc/{makes.pid}/task").iterdir()))
        made = await makes.fork()
        for _ in range(3):
            (reply,) = await made.ask([Call(body, {}, "r")])
            assert reply.status == 200
        other = await makes.fork()
        found = threads, holds(made.pid, WORD), holds(makes.pid, WORD) or holds(other.pid, WORD)
        for one in (made, other):
            await one.end(gently=True)
        return found

    program = worker.command(bundle, manifest.seal(bundle))
    assert with_maker(use, program) == (1, True, False)
