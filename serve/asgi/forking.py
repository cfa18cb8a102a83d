"""The fork server's own side: a process that has loaded all and answers nobody, and copies itself for each worker.

A worker is there in milliseconds, and shares the memory of what was loaded until it writes to it. The fork server never
sees a request: it hands a worker's connection on, and keeps no end of it.
"""

import contextlib
import gc
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import BinaryIO, NoReturn, cast

from foundation.errors import UserError

READY = b"ready"
MOST_BYTES = 256  # of a message
_LOG = logging.getLogger("serve")


def check() -> None:
    """Refuses a system that cannot name a process but by its number, which another may have by the time it is killed.

    Raises:
        UserError: saying what is missing.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        raise UserError(
            "host: this system has no pidfd_open, by which workers are watched; give Linux 5.3 or later (a container "
            "has its machine's, whose rules may forbid it), or host=torchserve"
        ) from error


def serve(work: Callable[[BinaryIO], None]) -> None:
    """Makes a worker whenever the front sends a connection for one over standard input, until the front ends.

    Args:
        work: of a worker, with its connection to the front.
    """
    gc.freeze()  # else workers would write to, and so copy, the pages of all that was loaded
    with contextlib.suppress(ConnectionError), _taken(0) as control:
        control.send(READY)
        while True:
            message, connections, _, _ = socket.recv_fds(control, MOST_BYTES, 1)
            if not message:
                return
            _reap()
            (connection,) = connections
            try:
                pid = os.fork()
            except OSError as error:  # no memory, or too many processes
                os.close(connection)
                control.send(f"{error.strerror}".encode())
                continue
            if pid == 0:
                control.close()
                _work(connection, work)
            os.close(connection)
            handle = os.pidfd_open(pid)  # names this process, and no later one of its number, even when it has ended
            socket.send_fds(control, [str(pid).encode()], [handle])
            os.close(handle)


def _taken(number: int) -> socket.socket:
    """The socket at a standard stream, in whose place nothing is left: a worker must not hold it open."""
    with open(os.devnull, "rb") as nothing:
        taken = socket.socket(fileno=os.dup(number))
        os.dup2(nothing.fileno(), number)
    return taken


def _reap() -> None:
    """Has workers that ended leave the table of processes."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if status:
                _LOG.error("worker %d ended with code %d", pid, os.waitstatus_to_exitcode(status))


def _work(connection: int, work: Callable[[BinaryIO], None]) -> NoReturn:
    """Works until the front has no more to ask; nothing that the fork server would do at its end is done here."""
    code = 1
    try:
        with socket.socket(fileno=connection) as ours, ours.makefile("rwb") as stream:
            work(cast(BinaryIO, stream))
        code = 0
    except ConnectionError:  # the front has gone, or given this worker up
        pass
    except Exception as error:  # noqa: BLE001 - the interpreter's own report would hold the error's words: a patient's
        traceback.print_tb(error.__traceback__)
        _LOG.error("a worker failed: %s", type(error).__name__)
    finally:
        sys.stderr.flush()
        os._exit(code)
