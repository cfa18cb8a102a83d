"""Workers that stand ready to take the place of one that dies: a model is loaded in seconds, on busy cores in many."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from serve.asgi.process import WorkerProcess

_LOG = logging.getLogger("serve")
_PAUSE = 10.0  # seconds between starts that fail


@dataclass
class _Spare:
    worker: WorkerProcess
    taken: asyncio.Event = field(default_factory=asyncio.Event)


class Spares:
    """Workers beside those that answer.

    Args:
        count: how many stand ready.
        start_seconds: after which a worker's start is given up.
    """

    def __init__(self, count: int, start_seconds: float) -> None:
        self._count = count
        self._start_seconds = start_seconds
        self._ready: deque[_Spare] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, program: Sequence[str]) -> None:
        """Keeps spares of a program, and ends those of an earlier one."""
        await self.end()
        self._tasks = [asyncio.create_task(self._keep(program)) for _ in range(self._count)]

    async def end(self) -> None:
        """Ends them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self) -> WorkerProcess | None:
        """One that is ready, whose place another is started for; None where there is none."""
        while self._ready:
            spare = self._ready.popleft()
            if spare.worker.process.returncode is None:
                spare.taken.set()
                return spare.worker
        return None

    async def _keep(self, program: Sequence[str]) -> None:
        while True:
            try:
                spare = _Spare(await WorkerProcess.start(program, self._start_seconds))
            except (EOFError, OSError, TimeoutError) as error:
                _LOG.error("a spare worker did not start (%s); tried again in %g s", type(error).__name__, _PAUSE)
                await asyncio.sleep(_PAUSE)
                continue
            self._ready.append(spare)
            waits = [asyncio.ensure_future(spare.worker.process.wait()), asyncio.ensure_future(spare.taken.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                if spare in self._ready:
                    self._ready.remove(spare)
                if not spare.taken.is_set():
                    await spare.worker.end()
