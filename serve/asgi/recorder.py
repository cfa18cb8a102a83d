"""A thread for what takes time and keeps an order: bodies are hashed there and files written, one after another."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Value = TypeVar("Value")
_Task = tuple[asyncio.Future[Any], Callable[[], Any]]
_Outcome = tuple[Any, Exception | None]


class Recorder:
    """So requests wait neither for another's, nor for the disk.

    What comes while the thread is busy is handed to it together: a hand-over takes longer than most of what is done.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "recorder")
        self._waiting: list[_Task] = []
        self._busy = False

    async def do(self, do: Callable[..., Value], *arguments: Any) -> Value:
        """What `do` returns, or raises, once all that came before is done."""
        done: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting.append((done, partial(do, *arguments)))
        if not self._busy:
            self._hand_over()
        return await done

    def _hand_over(self) -> None:
        tasks, self._waiting, self._busy = self._waiting, [], True
        work = asyncio.get_running_loop().run_in_executor(self._thread, _outcomes, [task for _, task in tasks])
        work.add_done_callback(partial(self._told, [done for done, _ in tasks]))

    def _told(self, waits: list[asyncio.Future[Any]], work: asyncio.Future[list[_Outcome]]) -> None:
        self._busy = False
        if self._waiting:
            self._hand_over()
        for done, (value, error) in zip(waits, work.result(), strict=True):
            if done.done():  # its sender has gone
                continue
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)


def _outcomes(tasks: list[Callable[[], Any]]) -> list[_Outcome]:
    return [_outcome(task) for task in tasks]


def _outcome(task: Callable[[], Any]) -> _Outcome:
    try:
        return task(), None
    except Exception as error:  # noqa: BLE001 - it is raised where the task came from, and is no other's
        return None, error
