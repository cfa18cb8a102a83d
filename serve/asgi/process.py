"""A worker as the front sees it: a connection that batches go into and replies come out of, and a process behind it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from serve.asgi import frames
from serve.host import Call, Reply

_GRACE = 5.0  # seconds for a worker to end by itself


class WorkerProcess:
    """A process that another made.

    Args:
        pid: its number.
        handle: its file descriptor of `pidfd_open`, which is the worker's own from here on.
        outward: replies.
        inward: batches.

    Attributes:
        ended: set once it has.
    """

    def __init__(self, pid: int, handle: int, outward: asyncio.StreamReader, inward: asyncio.StreamWriter) -> None:
        self.pid, self.outward, self.inward = pid, outward, inward
        self.ended = asyncio.Event()
        self._handle = handle
        asyncio.get_running_loop().add_reader(handle, self._ended)

    async def ask(self, calls: Sequence[Call]) -> list[Reply]:
        """Replies to a batch, in order.

        Raises:
            EOFError: if it ended, or answered in no frame.
        """
        self.inward.write(frames.of_calls(calls).encode())
        sent = asyncio.ensure_future(self.inward.drain())
        try:
            replies = frames.to_replies(await frames.receive(self.outward))
            if len(replies) != len(calls):
                raise EOFError(f"{len(replies)} replies to {len(calls)} requests")
            return replies
        finally:
            sent.cancel()
            await asyncio.gather(sent, return_exceptions=True)

    async def end(self, gently: bool = False) -> None:
        """Ends it; where `gently`, it may answer what it has, for a while."""
        if gently and not self.ended.is_set():
            with contextlib.suppress(OSError, TimeoutError):
                self.inward.write_eof()
                async with asyncio.timeout(_GRACE):
                    await self.ended.wait()
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        await self.ended.wait()
        self.inward.close()

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        with contextlib.suppress(ChildProcessError):  # this process's own child by now, where its maker has ended
            os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)
        os.close(self._handle)
        self.ended.set()
