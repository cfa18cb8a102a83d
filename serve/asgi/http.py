"""A request and a reply of ASGI, as the application uses them."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from foundation.modalities.request import RequestError
from serve.host import JSON, Call, Reply
from serve.reading import MOST_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_KEPT = (b"content-type", b"x-request-id")  # the headers that a worker reads
_PATIENT = b"x-patient"


class SenderGoneError(Exception):
    """The connection ended before the request was there."""


class Exchange:
    """One request, and the way back.

    Args:
        scope: of ASGI.
        receive: likewise.
        send: likewise.
        request_id: where the sender gives none.

    Attributes:
        caller: by the token; None before it is known.
        asked: each patient and what it got, where a request holds several.
        patient: whose id feedback keeps the answer under, as it was sent; it stays at the front.
    """

    def __init__(self, scope: Message, receive: Receive, send: Send, request_id: str) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.caller: str | None = None
        self.asked: list[tuple[Call, Reply]] = []
        self.patient = self.headers.get(_PATIENT)
        self._receive, self._send = receive, send
        kept = {key.decode(): self.headers[key].decode("latin-1") for key in _KEPT if key in self.headers}
        self.call = Call(b"", kept, request_id)

    def declared_size(self) -> int:
        """Bytes of the body as its sender counts them; 0 where it does not."""
        text = self.headers.get(b"content-length", b"")
        return int(text) if text.isdigit() and len(text) < 20 else 0

    async def body(self, reserve: Callable[[int], None]) -> bytes:
        """The whole body.

        Args:
            reserve: takes room for so many bytes in all, or raises what the sender is told.

        Raises:
            RequestError: if it is larger than what is read, or than there is room for.
            SenderGoneError: if it never ends.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise SenderGoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MOST_BYTES:
                raise too_large(size)
            reserve(size)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def reply(self, reply: Reply) -> None:
        """Sends a status, headers and a body."""
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        pairs = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
        await self._send({"type": "http.response.start", "status": int(reply.status), "headers": pairs})
        await self._send({"type": "http.response.body", "body": reply.body})


def too_large(size: int) -> RequestError:
    """The refusal of a body of so many bytes, in the reader's own words."""
    advice = f"send at most {MOST_BYTES}"
    return RequestError("request", f"{size} bytes", advice, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def json_reply(content: Any, status: int = HTTPStatus.OK) -> Reply:
    """A value as a JSON body."""
    return Reply(status, json.dumps(content).encode(), {"content-type": JSON})
