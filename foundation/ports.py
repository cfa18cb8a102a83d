"""Ports of this machine."""

import socket
from typing import Any

from foundation.errors import UserError

LOOPBACK = "127.0.0.1"
_LAST = 65535


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, each another one."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def read_port(port: Any, field: str = "port") -> int:
    """A port as a setting gives it; 0 is none, for nobody would know where it led.

    Raises:
        UserError: naming the setting, for anything else.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= _LAST:
        raise UserError(f"{field}: found {port!r}; give a whole number from 1 to {_LAST}")
    return port


def check_port(port: Any, address: str = LOOPBACK) -> None:
    """Refuses what is no port, and one that somebody listens on at an address of this machine.

    Raises:
        UserError: naming it.
    """
    read_port(port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, port), family=family).close()
    except OSError as error:
        raise UserError(f"port: {address}:{port} cannot be listened on ({error}); set another one") from error
