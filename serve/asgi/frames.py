"""What front and workers say to each other over pipes: a line of JSON that counts the bytes behind it.

A batch goes out as the calls' headers and ids with their bodies, and comes back as statuses and headers with theirs.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from serve.host import Call, Reply

LONGEST_LINE = 1 << 20  # bytes: of a batch's headers
READY = {"ready": True}


@dataclass
class Frame:
    """One message.

    Attributes:
        facts: of each part.
        parts: bytes.
    """

    facts: list[dict[str, Any]]
    parts: list[bytes]

    def encode(self) -> bytes:
        """As the pipe carries it."""
        head = json.dumps({"facts": self.facts, "sizes": [len(part) for part in self.parts]}).encode()
        return b"".join([head, b"\n", *self.parts])


def of_calls(calls: Sequence[Call]) -> Frame:
    """A batch of requests."""
    facts = [{"headers": dict(call.headers), "id": call.default_id} for call in calls]
    return Frame(facts, [call.body for call in calls])


def to_calls(frame: Frame) -> list[Call]:
    """The way back."""
    return [Call(body, facts["headers"], facts["id"]) for facts, body in zip(frame.facts, frame.parts, strict=True)]


def of_replies(replies: Sequence[Reply]) -> Frame:
    """What a batch is answered with."""
    facts = [{"status": int(reply.status), "headers": reply.headers, "counted": reply.counted} for reply in replies]
    return Frame(facts, [reply.body for reply in replies])


def to_replies(frame: Frame) -> list[Reply]:
    """The way back."""
    return [
        Reply(facts["status"], body, facts["headers"], facts["counted"])
        for facts, body in zip(frame.facts, frame.parts, strict=True)
    ]


def read(stream: BinaryIO) -> Frame | None:
    """The next frame; None at the end."""
    line = stream.readline()
    if not line:
        return None
    head = json.loads(line)
    return Frame(head["facts"], [stream.read(size) for size in head["sizes"]])


async def receive(stream: asyncio.StreamReader) -> Frame:
    """Likewise, at the front.

    Raises:
        EOFError: if the worker has ended, or sends what is no frame: nothing more of it can be read then.
    """
    try:
        head = json.loads(await stream.readuntil(b"\n"))
        return Frame(head["facts"], [await stream.readexactly(size) for size in head["sizes"]])
    except (asyncio.LimitOverrunError, ValueError, KeyError, TypeError) as error:
        raise EOFError("a worker sent what is no frame") from error
