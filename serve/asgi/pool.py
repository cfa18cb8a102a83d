"""Worker processes and the requests that wait for them.

A free worker takes what waits, at once: one request alone, or as many as came while all were busy. A worker that dies
is replaced, and so is one that takes a third of the time limit for a batch; the requests that it had are asked again,
each alone, while there is time. One that ends or holds workers alone is refused, so no sender costs the others an
answer.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from http import HTTPStatus

from foundation.modalities.request import RequestError
from serve.asgi.fork_server import ForkServer
from serve.asgi.process import WorkerProcess
from serve.explained import HEADER as EXPLAIN
from serve.host import Call, Reply, to_reply
from serve.limits import check_above_zero, check_counts
from serve.problems import internal_error

_LOG = logging.getLogger("serve")
_ATTEMPTS = 2  # alone, before a request counts as what ends workers
_TURN = 1 / 3  # of the time limit: one for a batch, one for what hangs in it, and one for those that it kept waiting
_SMALL, _SLOTS = 4 << 10, 4  # bytes; places that a larger body takes in a batch: an image may take seconds to decode
_EXPLANATIONS = 4  # that wait for each worker: more would not have their turn in time
_LONGEST_PAUSE = 10.0  # seconds between starts that fail


@dataclass
class Limits:
    """What a pool holds.

    Attributes:
        workers: processes.
        batch_size: most requests answered in one pass, a quarter of that where they are large.
        waiting: most requests that wait.
        waiting_bytes: most bytes of them.
        response_seconds: after which a request is given up.
        start_seconds: after which loading the model, or a worker's start, is given up.

    Raises:
        UserError: naming one that is not above 0, with which every request would wait for nothing, or is no whole
            number of what is counted.
    """

    workers: int = 1
    batch_size: int = 32
    waiting: int = 256
    waiting_bytes: int = 256 << 20
    response_seconds: float = 120
    start_seconds: float = 120

    def __post_init__(self) -> None:
        for field in fields(self):
            check = check_counts if field.type is int else check_above_zero
            check(**{field.name: getattr(self, field.name)})


@dataclass
class _Job:
    call: Call
    reply: asyncio.Future[Reply]
    deadline: float  # of the loop's clock
    explains: bool  # asks the model a hundred times, not once
    deaths: int = 0


class Pool:
    """Workers that answer calls.

    Args:
        program: command line that workers are made by; see `ForkServer`.
        limits: of the pool.
    """

    def __init__(self, program: Sequence[str], limits: Limits) -> None:
        self.limits = limits
        self.restarts = 0
        self.ready_workers = 0
        self.batches = self.batched = 0
        self._makes = ForkServer(program, limits.start_seconds)
        self._generation = 0  # of programs: workers of an earlier one end after their batch
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._idle = 0
        self._bytes = 0
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Requests that no worker has taken yet."""
        return len(self._waiting)

    async def start(self) -> None:
        """Starts the workers, and returns once one is ready.

        Raises:
            EOFError: if the model did not load, or the first of them ended instead.
            TimeoutError: if it took too long.
        """
        first = await self._makes.first()
        workers: list[WorkerProcess | None] = [first, *[None] * (self.limits.workers - 1)]
        self._tasks = [asyncio.create_task(self._keep(worker, 0)) for worker in workers]
        self.ready_workers += 1

    async def replace(self, program: Sequence[str]) -> None:
        """Has another program answer, once a worker of it is ready: what waits stays, and no request is lost.

        Workers of the earlier one answer what they have, then end.

        Args:
            program: as of the pool.

        Raises:
            EOFError: if the first worker ended instead, or its model did not load; the earlier program goes on.
            TimeoutError: likewise, if it took too long.
        """
        makes = ForkServer(program, self.limits.start_seconds)
        first = await makes.first()
        earlier, self._makes, self._generation = self._makes, makes, self._generation + 1
        workers: list[WorkerProcess | None] = [first, *[None] * (self.limits.workers - 1)]
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks += [asyncio.create_task(self._keep(worker, self._generation)) for worker in workers]
        self.ready_workers += 1
        self._arrived.set()  # those of the earlier program that wait see that their time is over
        await earlier.end()

    async def close(self) -> None:
        """Lets the requests that are there be answered, then ends the workers."""
        self._closing = True
        self._arrived.set()
        await self._makes.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reserve(self, size: int) -> RequestError | None:
        """Takes room for a body before it is read; a refusal where there is none."""
        if self._bytes + size > self.limits.waiting_bytes or len(self._waiting) >= self.limits.waiting:
            reason = "more requests wait than can be answered in time"
            return RequestError("request", reason, "send it again in a second", HTTPStatus.TOO_MANY_REQUESTS)
        self._bytes += size
        return None

    def release(self, size: int) -> None:
        """Gives the room back."""
        self._bytes -= size

    async def answer(self, call: Call) -> Reply:
        """A worker's reply, or a refusal where none came in time.

        Raises:
            RequestError: if it is an explanation, and as many wait as can be given in time.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.response_seconds
        job = _Job(call, loop.create_future(), until, call.header(EXPLAIN) is not None)
        self._put(job)
        self._arrived.set()
        try:
            async with asyncio.timeout_at(job.deadline):
                return await job.reply
        except TimeoutError:
            reason = f"not answered within {self.limits.response_seconds:g} s"
            advice = "send less of it, or again when fewer ask"
            error = RequestError("request", reason, advice, HTTPStatus.SERVICE_UNAVAILABLE)
            return to_reply(error, call.request_id)

    def _put(self, job: _Job) -> None:
        """Has it wait: explanations behind all answers, so that nobody's are kept from the others by them."""
        places = [place for place, one in enumerate(self._waiting) if one.explains and not one.reply.done()]
        if job.explains and len(places) >= _EXPLANATIONS * self.limits.workers:
            reason = "more explanations wait than can be given in time"
            raise RequestError("request", reason, "send it again in a minute", HTTPStatus.TOO_MANY_REQUESTS)
        self._waiting.insert(len(self._waiting) if job.explains or not places else places[0], job)

    def _over(self, generation: int) -> bool:
        """Whether workers of a program are to end."""
        return self._closing or generation != self._generation

    async def _keep(self, worker: WorkerProcess | None, generation: int) -> None:
        """One worker after another, until the pool closes, or another program takes over."""
        pause = 0.0
        while not self._over(generation):
            if worker is None:
                await asyncio.sleep(pause)
                try:
                    worker = await self._makes.fork()
                except (EOFError, OSError, TimeoutError) as error:
                    pause = min(_LONGEST_PAUSE, 2 * pause + 0.5)
                    _LOG.error("a worker did not start (%s); tried again in %g s", type(error).__name__, pause)
                    continue
                self.ready_workers += 1
            pause = 0.0
            listens = False
            try:
                listens = await self._work(worker, generation)
            finally:
                self.ready_workers -= 1
                await worker.end(gently=listens)
            worker = None
            self.restarts += not self._over(generation)

    async def _work(self, worker: WorkerProcess, generation: int) -> bool:
        """Has a worker answer until it fails, or its time is over and nothing waits for it: true, for it listens."""
        ended = asyncio.ensure_future(worker.ended.wait())
        try:
            while True:
                if generation != self._generation:
                    return True
                jobs = self._next()  # at once where any wait, before the senders of the last batch get theirs
                if not jobs:
                    take = asyncio.ensure_future(self._take(generation))
                    await asyncio.wait({take, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if not take.done():
                        take.cancel()
                        _LOG.error("worker %d ended; another is started", worker.pid)
                        return False
                    jobs = take.result()
                if not jobs:
                    return True
                if not await self._ask(worker, jobs):
                    return False
        finally:
            ended.cancel()

    async def _ask(self, worker: WorkerProcess, jobs: list[_Job]) -> bool:
        """Has a batch answered; false where the worker cannot go on."""
        self.batches += 1
        self.batched += len(jobs)
        try:
            async with asyncio.timeout_at(self._until(jobs)):
                replies = await worker.ask([job.call for job in jobs])
        except (EOFError, OSError, TimeoutError) as error:
            _LOG.error("a worker failed on %d requests (%s); another is started", len(jobs), type(error).__name__)
            self._put_back(jobs, last=isinstance(error, TimeoutError) and len(jobs) == 1)
            return False
        for job, reply in zip(jobs, replies, strict=True):
            if not job.reply.done():
                job.reply.set_result(reply)
        return True

    def _until(self, jobs: list[_Job]) -> float:
        """When a worker is given up: at the end of a lone request's time, sooner where it costs others theirs."""
        if len(jobs) == 1 and not jobs[0].deaths:
            return jobs[0].deadline
        turn = asyncio.get_running_loop().time() + _TURN * self.limits.response_seconds
        return min(turn, max(job.deadline for job in jobs))

    def _put_back(self, jobs: list[_Job], last: bool) -> None:
        """Has requests asked again, each alone; one that hung alone comes after all that wait."""
        for job in reversed(jobs):
            job.deaths += 1
            if job.reply.done():
                continue
            if job.deaths > _ATTEMPTS:
                job.reply.set_result(to_reply(internal_error(), job.call.request_id))
            else:
                (self._waiting.append if last else self._waiting.appendleft)(job)
                self._arrived.set()

    async def _take(self, generation: int) -> list[_Job]:
        """The next batch, once there is one; nothing where the pool closes, or another program takes over."""
        self._idle += 1
        try:
            while generation == self._generation:
                if (jobs := self._next(self._idle)) or self._closing:
                    return jobs
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._idle -= 1
        return []

    def _next(self, idle: int = 1) -> list[_Job]:
        """A fair share of what waits, among so many free workers."""
        while self._waiting and self._waiting[0].reply.done():  # its sender has gone, or its time is up
            self._waiting.popleft()
        share = -(-len(self._waiting) // max(1, idle))
        jobs: list[_Job] = []
        room = self.limits.batch_size
        while self._waiting and len(jobs) < min(share, self.limits.batch_size):
            alone = self._waiting[0].deaths > 0 or self._waiting[0].explains
            room -= 1 if len(self._waiting[0].call.body) <= _SMALL else _SLOTS
            if jobs and (alone or room < 0):
                break
            jobs.append(self._waiting.popleft())
            if alone:
                break
        return jobs
