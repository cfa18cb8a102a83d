"""Connections to the portals: a session a thread; a failure of the transport is an attempt that may be made again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from foundation.data.portals.attempts import Attempts, PassingError, StoppedError, check_status, plain_url
from foundation.data.problems import refuse

_CHUNK = 1 << 18
_NO_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)


class Connection:
    """Opens responses and counts what comes in.

    Args:
        attempts: how often and how patiently.
        timeout: seconds without a byte after which a connection is given up.

    Attributes:
        received: bytes so far.
    """

    def __init__(self, attempts: Attempts, timeout: float) -> None:
        self.attempts = attempts
        self.received = 0
        self._timeout = timeout
        self._local = threading.local()
        self._count = threading.Lock()

    @contextmanager
    def open(self, url: str, **options: Any) -> Iterator[requests.Response]:
        """A response whose status is good; transport errors anywhere in the block are ones that pass.

        Raises:
            PassingError: if another attempt may do better.
            DataError: if none will.
        """
        method = "GET" if options.get("json") is None else "POST"
        try:
            with self._session().request(method, url, stream=True, timeout=self._timeout, **options) as response:
                check_status(response, plain_url(url))
                yield response
        except _NO_URL as error:
            raise refuse(plain_url(url), "no URL", "mend the portal's address in the config") from error
        except requests.exceptions.RequestException as error:
            raise PassingError(f"the connection failed ({type(error).__name__})", "check network and proxy") from error

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """A response's bytes, until another thread has failed."""
        for chunk in response.iter_content(_CHUNK):
            if self.attempts.stop.is_set():
                raise StoppedError
            with self._count:
                self.received += len(chunk)
            yield chunk

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.auth = lambda request: request  # no credentials of a .netrc are sent to anyone
            self._local.session.headers["User-Agent"] = "consilium"
        session: requests.Session = self._local.session
        return session
