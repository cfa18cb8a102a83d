"""What stands before the SuperLink's own interface: who may ask what from where, and the record of who commanded."""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundation.chained_file import ChainedFile
from foundation.federation.deployment.operators import Operators, Refused

COMMANDS = "commands.jsonl"  # in the SuperLink's folder
_CONTROL = "/v1/control/"
_OPEN = ("/v1/fleet/", "/health")  # to other machines
_HERE = ("127.0.0.1", "::1")
_READS = ("list-", "stream-", "show-", "get-", "pull-")  # what changes nothing, and is asked again and again
_PAUSE = 60.0  # seconds between two notes of refusals
_LARGEST = 64 << 20  # bytes of a command


class SitesStayOutside:
    """Answers other machines on the nodes' interface alone, where every request is signed with a site's key.

    Args:
        app: the SuperLink's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "lifespan" or (scope.get("client") or ("",))[0] in _HERE
        path = scope.get("path", "")
        if here or (path.startswith(_OPEN) and ".." not in path):
            await self.app(scope, receive, send)
            return
        await _refuse(send, 403, "Commands are taken from the SuperLink's own machine.")


class OperatorsCommand:
    """Lets through the commands of operators, and writes down who gave each that changes something.

    A command is written down before it is carried out, with what came of it afterwards; so is one that is refused, but
    only the first of a minute: whoever may not command shall not fill the disk either.

    Args:
        app: the SuperLink's.
        folder: of the SuperLink.
    """

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self.app = app
        self._operators = Operators(folder, since=time.time())
        self._record = ChainedFile(folder / COMMANDS)
        self._one_at_a_time = asyncio.Lock()
        self._refused_at = -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(_CONTROL):
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            await _refuse(send, 413, f"a command of more than {_LARGEST >> 20} MiB")
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        what = {"command": path.removeprefix(_CONTROL), "sha256": hashlib.sha256(body).hexdigest()}
        try:
            operator = self._operators.of(path, body, headers)
        except Refused as error:
            if time.monotonic() - self._refused_at > _PAUSE:
                self._refused_at = time.monotonic()
                await self._write(what | {"operator": None, "refused": str(error)})
            await _refuse(send, 401, str(error))
            return
        if what["command"].startswith(_READS):
            await self.app(scope, _again(body, receive), send)
            return
        begun = await self._write(what | {"operator": operator})
        status = _Status(send)
        await self.app(scope, _again(body, receive), status)
        await self._write({"of": begun["index"], "status": status.value})

    async def _write(self, entry: dict[str, Any]) -> dict[str, Any]:
        async with self._one_at_a_time:
            return self._record.add({"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry})


def read_commands(folder: Path) -> Iterator[str]:
    """A line a command: when, who, what, and what came of it.

    Args:
        folder: of the SuperLink.

    Raises:
        UserError: if the record was altered.
    """
    entries = ChainedFile(folder / COMMANDS).entries()
    outcomes = {entry["of"]: entry["status"] for entry in entries if "of" in entry}
    for entry in entries:
        if "of" not in entry:
            outcome = entry.get("refused") or outcomes.get(entry["index"], "no answer")
            yield f"{entry['time']}  {entry['operator'] or 'nobody':20} {entry['command']:18} {outcome}"


class _Status:
    """Passes an answer on, and keeps its status.

    Args:
        send: to the sender of the request.
    """

    def __init__(self, send: Send) -> None:
        self.value: int | None = None
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.value = message["status"]
        await self._send(message)


async def _read(receive: Receive) -> bytes | None:
    """A request's body; None where it is too large, or its sender went away."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or len(body) > _LARGEST:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A body that was read, for whoever reads it next; after it, what the sender does, such as going away."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _refuse(send: Send, status: int, text: str) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
