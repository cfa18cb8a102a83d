"""A worker as a process: batches in at its input, replies out at its output."""

import asyncio
import contextlib
from collections.abc import Sequence

from serve.asgi import frames
from serve.host import Call, Reply

_GRACE = 5.0  # seconds for a worker to end by itself


class WorkerProcess:
    """A process that has said that it is ready.

    Args:
        process: with its input and output at pipes.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self.inward, self.outward = process.stdin, process.stdout

    @classmethod
    async def start(cls, program: Sequence[str], seconds: float) -> "WorkerProcess":
        """Starts a command and waits until it is ready.

        Raises:
            EOFError: if it ended instead.
            TimeoutError: if it took longer than these seconds.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*program, stdin=pipe, stdout=pipe, limit=frames.LONGEST_LINE)
        worker = cls(process)
        try:
            async with asyncio.timeout(seconds):
                await frames.receive(worker.outward)
        except BaseException:
            await worker.end()
            raise
        return worker

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
        if gently:
            self.inward.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await self.process.wait()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
