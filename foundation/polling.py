"""Polling: waiting for something that nobody announces."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(check: Callable[[], T], every: float, seconds: float | None = None) -> T:
    """Asks again and again until the answer is true or time is up.

    Args:
        check: what to ask; what it raises ends the waiting.
        every: seconds between two questions.
        seconds: after which it is asked no more; never if None.

    Returns:
        The last answer: false where time is up.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while not (answer := check()) and (end is None or time.monotonic() < end):
        time.sleep(every)
    return answer
