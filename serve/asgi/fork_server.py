"""The fork server as the front sees it: a process that is asked for workers, and started anew where it dies.

It takes seconds of processor time to load a model, on busy cores many; a copy of a process that has loaded it takes
milliseconds. So a worker that dies is replaced at once, and many workers share what was loaded.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence

from serve.asgi import forking, frames
from serve.asgi.process import WorkerProcess

_GRACE = 5.0  # seconds to end by itself
_LONGEST_PAUSE = 10.0  # seconds between starts that fail
_LOG = logging.getLogger("serve")


class ForkServer:
    """Makes workers of a program.

    Args:
        program: command line of a process that ends in `forking.serve`, its control socket at standard input.
        seconds: after which its start, or that of a worker, is given up.
    """

    def __init__(self, program: Sequence[str], seconds: float) -> None:
        self._program, self._seconds = program, seconds
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._listens = asyncio.Event()
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._over = False

    @property
    def pid(self) -> int | None:
        """Of the process that workers are copied from."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Loads the program.

        Raises:
            EOFError: if it ended instead.
            TimeoutError: if it took too long.
        """
        await self._load()
        self._keeper = asyncio.create_task(self._keep())

    async def first(self) -> WorkerProcess:
        """Loads the program, and makes a worker, which shows that it answers; nothing is left where it does not.

        Raises:
            EOFError, TimeoutError: as both.
        """
        await self.start()
        try:
            return await self.fork()
        except BaseException:
            await self.end()
            raise

    async def fork(self) -> WorkerProcess:
        """A worker that is ready.

        Raises:
            EOFError: if it ended instead, or there is none to be had.
            TimeoutError: if it took too long.
        """
        async with asyncio.timeout(self._seconds):
            async with self._turn:
                await self._listens.wait()
                if self._over:
                    raise EOFError("it was ended")
                ours, theirs = socket.socketpair()
                try:
                    pid, handle = await self._ask(theirs)
                except BaseException:
                    ours.close()
                    raise
                finally:
                    theirs.close()
            worker = WorkerProcess(pid, handle, *await _streams(ours))
            try:
                await frames.receive(worker.outward)
            except BaseException:
                await worker.end()
                raise
        return worker

    async def end(self) -> None:
        """Ends the process; workers that it made go on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._end()
        self._over = True
        self._listens.set()  # whoever waits for a worker learns that there will be none

    async def _load(self) -> None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        self._control = control
        with theirs:
            self._process = await asyncio.create_subprocess_exec(*self._program, stdin=theirs.fileno())
        try:
            async with asyncio.timeout(self._seconds):
                await _readable(control)
                if _message(control)[0] != forking.READY:
                    raise EOFError("it ended before it was ready")
        except BaseException:
            await self._end()
            raise
        self._listens.set()

    async def _keep(self) -> None:
        """Has another started when it dies: workers live on, but the next one could not be made."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            _LOG.error("the process that workers are copied from ended with code %s; another is started", code)
            await self._end()
            pause = 0.0
            while not self._listens.is_set():
                try:
                    await self._load()
                except (EOFError, OSError, TimeoutError) as error:
                    pause = min(_LONGEST_PAUSE, 2 * pause + 0.5)
                    _LOG.error("it did not start (%s); tried again in %g s", type(error).__name__, pause)
                    await asyncio.sleep(pause)

    async def _ask(self, connection: socket.socket) -> tuple[int, int]:
        """Number and handle of a new worker that has this connection."""
        assert self._control is not None and self._process is not None
        control, process = self._control, self._process
        try:
            socket.send_fds(control, [b"worker"], [connection.fileno()])
            await _readable(control)
            message, handles = _message(control)
        except BaseException:  # what it answers later would be taken for the answer to another request
            _kill(process)
            raise
        if not handles:
            raise EOFError(f"no worker can be made: {message.decode() or 'its maker has ended'}")
        return int(message), handles[0]

    async def _end(self) -> None:
        self._listens.clear()
        if self._control is None or self._process is None:
            return
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # by which it ends, and whoever waits for its answer learns that
        try:
            async with asyncio.timeout(_GRACE):
                await self._process.wait()
        except TimeoutError:
            _kill(self._process)
            await self._process.wait()
        self._control.close()


async def _streams(connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(sock=connection, limit=frames.LONGEST_LINE)


async def _readable(control: socket.socket) -> None:
    """Returns once there is a message, or the other side has ended."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(control, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(control)


def _message(control: socket.socket) -> tuple[bytes, list[int]]:
    """A message and the handles that came with it; empty at the end."""
    try:
        message, handles, _, _ = socket.recv_fds(control, forking.MOST_BYTES, 1)
    except ConnectionError:
        return b"", []
    return message, list(handles)


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
