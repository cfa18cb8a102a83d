"""Output that somebody stopped reading: `consilium | head` ends as every tool's output does, without a word."""

import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_SIGPIPE = 128 + 13  # the exit code of a program that writes on when nobody reads


@contextmanager
def ends_with_reader() -> Iterator[None]:
    """Ends the process quietly where the reader of what it prints has left.

    A pipe or connection of another kind that breaks (a worker that died, a server) is an error as before.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # now, or Python's own flush at exit would complain
    except BrokenPipeError:
        left = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not left:
            raise
        for stream in left:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # takes what is still in the buffer
        sys.exit(_SIGPIPE)


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes log lines; where nobody reads them any more, that is an error like any print's, not a page of its own."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            raise error
        super().handleError(record)


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # errors alone
    return any(event & select.POLLERR for _, event in poll.poll(0))
