"""HTTP/1.1 of uvicorn, with an end to what never ends: half-open connections, endless headers, slow bodies."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 64 << 10


def deadlines(seconds: float) -> type[HttpToolsProtocol]:
    """A protocol that closes a connection whose request is not there whole after some seconds.

    Args:
        seconds: from the connection, or from a request's first byte, to its last.
    """

    class Deadlines(HttpToolsProtocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._deadline: asyncio.TimerHandle | None = None
            self._unread_bytes = 0  # of headers or trailers, since the last of a body

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._unread_bytes += len(data)
            super().data_received(data)
            if self._unread_bytes > MOST_HEADER_BYTES:
                self.transport.close()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._wait()

        def on_headers_complete(self) -> None:
            self._unread_bytes = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._unread_bytes = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._arrived()
            self._unread_bytes = 0
            super().on_message_complete()

        def _wait(self) -> None:
            self._arrived()
            self._deadline = self.loop.call_later(seconds, self.transport.close)

        def _arrived(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()

    return Deadlines
