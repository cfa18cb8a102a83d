"""The thread that records: in order, together where it is busy, and each outcome to whom it belongs."""

import asyncio
import threading
from typing import Any

import pytest

from serve.asgi import recorder
from serve.asgi.recorder import Recorder


def test_what_comes_while_the_thread_is_busy_is_done_in_order_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    outcomes = recorder._outcomes
    monkeypatch.setattr(recorder, "_outcomes", lambda tasks: sizes.append(len(tasks)) or outcomes(tasks))
    free, seen = threading.Event(), []

    def note(name: int) -> int:
        if name == 3:
            raise OSError("no room")
        seen.append((name, threading.current_thread().name))
        return name * 10

    async def use() -> list[Any]:
        one = Recorder()
        first = asyncio.ensure_future(one.do(free.wait))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(one.do(note, name)) for name in range(6)]
        await asyncio.sleep(0)
        others[1].cancel()
        free.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    first, *rest = asyncio.run(use())
    assert first is True
    assert [one for one in rest if isinstance(one, int)] == [0, 20, 40, 50]
    assert isinstance(rest[1], asyncio.CancelledError) and isinstance(rest[3], OSError)
    assert [name for name, _ in seen] == [0, 1, 2, 4, 5], "what was asked for is recorded, whoever has gone since"
    assert {thread for _, thread in seen} == {"recorder_0"}
    assert sizes == [1, 6]
