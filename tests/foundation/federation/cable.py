"""A cable between a hospital and its SuperLink that a test can pull out and plug in again."""

import contextlib
import socket
import threading
from collections.abc import Iterator

_BYTES = 1 << 16


class Cable:
    """Listens on a port of loopback and carries every connection on to another one, until it is pulled.

    Args:
        port: of the far end, on loopback.

    Attributes:
        port: of the near end.
    """

    def __init__(self, port: int) -> None:
        self._far = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._plugged = True
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        """Breaks every connection; new ones are closed as soon as they are made."""
        with self._lock:
            self._plugged = False
            for end in self._ends:
                _close(end)
            self._ends.clear()

    def plug(self) -> None:
        """Connections are carried again."""
        with self._lock:
            self._plugged = True

    def close(self) -> None:
        """Ends it for good."""
        self.pull()
        _close(self._listener)

    def _accept(self) -> None:
        for near in _accepted(self._listener):
            with self._lock:
                if not self._plugged:
                    _close(near)
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._far), 5)
                except OSError:
                    _close(near)
                    continue
                far.settimeout(None)
                self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    with contextlib.suppress(OSError):
        while True:
            yield listener.accept()[0]


def _carry(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(_BYTES):
            other.sendall(data)
    _close(one)
    _close(other)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
