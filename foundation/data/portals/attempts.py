"""Repeated attempts at a portal, with pauses in between, until it is given up."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from foundation.data.problems import refuse

_PASSING = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0
_ADVICE = {
    400: "the portal's interface may have changed: report it",
    401: "only open files are read here; take it out of the selection",
    403: "only open files are read here; take it out of the selection",
    404: "check project, study and collection in the config",
    416: "remove the .part file and try again",
}
Made = TypeVar("Made")


class PassingError(Exception):
    """An attempt that may do better next time.

    Args:
        finding: what came.
        advice: what to do if it stays so.
        pause: seconds that the portal asks to wait.
    """

    def __init__(self, finding: str, advice: str, pause: float | None = None) -> None:
        super().__init__(finding)
        self.finding, self.advice, self.pause = finding, advice, pause


class StoppedError(Exception):
    """Another thread has failed, and this one stops."""


@dataclass
class Attempts:
    """Attempts with pauses that double, or are as long as the portal asks.

    Args:
        most: attempts at one URL.
        pause: seconds after the first failure.
        patience: seconds beyond which a portal's wish to be left alone ends the run.
        stop: set when a thread has failed.
    """

    most: int
    pause: float
    patience: float
    stop: threading.Event = field(default_factory=threading.Event)

    def make(self, url: str, once: Callable[[int], Made]) -> Made:
        """What `once` returns; it is given the number of the attempt.

        Raises:
            DataError: of the last attempt, naming the URL.
        """
        for number in range(self.most):
            try:
                return once(number)
            except PassingError as error:
                if error.pause is not None and error.pause > self.patience:
                    finding = f"{error.finding}: the portal asks to wait {error.pause:.0f} s"
                    raise refuse(plain_url(url), finding, "start again then; what came is kept") from error
                if number + 1 == self.most:
                    raise refuse(plain_url(url), f"{error.finding}, {self.most} times", error.advice) from error
                self._wait(number, error.pause)
        raise AssertionError("attempts are at least one")

    def _wait(self, number: int, asked: float | None) -> None:
        # Uneven pauses keep threads that failed together from coming back together.
        pause = min(_LONGEST_PAUSE, self.pause * 2**number) * random.uniform(0.5, 1.0)
        if self.stop.wait(pause if asked is None else asked):
            raise StoppedError


def check_status(response: requests.Response, url: str) -> None:
    """Passes a status of success.

    Raises:
        PassingError: on one that may pass.
        DataError: on one that will not.
    """
    status = response.status_code
    if status in (200, 206):
        return
    finding = f"status {status} {response.reason or ''}".strip()
    if status in _PASSING:
        raise PassingError(
            finding, "try again later; what came is kept", retry_after(response.headers.get("Retry-After"))
        )
    raise refuse(url, finding, _ADVICE.get(status, "look the address up in the portal's documentation"))


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, of a header that gives seconds or a date (RFC 9110, 10.2.3); None if it says neither."""
    try:
        return None if header is None else Retry().parse_retry_after(header)
    except InvalidHeader:
        return None


def plain_url(url: str) -> str:
    """A URL as messages may show it: without query, user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
