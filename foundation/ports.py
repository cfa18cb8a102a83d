"""Ports of this machine's loopback."""

import socket

from foundation.errors import UserError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, each another one."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def check_port(port: int) -> None:
    """Refuses a port that somebody listens on.

    Raises:
        UserError: naming it.
    """
    try:
        socket.create_server((LOOPBACK, port)).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"port: {LOOPBACK}:{port} cannot be listened on ({error}); set another one") from error
