"""What the clients share, whatever carries it: requests as HTTP, replies as answers or refusals, when to ask again."""

import asyncio
import json
import logging
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from foundation.errors import UserError
from serve.explained import Explanation
from serve.limits import check_above_zero, check_at_least_zero, check_counts
from serve.problems import ProblemDetails
from serve.schema import Response

# A line for each request, which commands would print among their answers, tells nobody anything.
logging.getLogger("httpx").setLevel(logging.WARNING)
Patient = Mapping[str, Any] | bytes
_SHOWN = 1000  # characters of a server's refusal
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class RefusedError(UserError):
    """A server's refusal.

    Args:
        status: of HTTP.
        reason: in one line.
        problem: the refusal in parts, where the server is one of this project's.
    """

    def __init__(self, status: int, reason: str, problem: ProblemDetails | None) -> None:
        super().__init__(f"the server refused the request ({status}): {reason}")
        self.status = status
        self.problem = problem


class LateError(UserError):
    """No answer in time, of a server that may well answer another request."""


@dataclass(frozen=True)
class Retries:
    """When a request that found the server busy (429, 503) is sent again.

    Attributes:
        attempts: most, the first included.
        pause_seconds: before the second; twice as long before each further one, and up to half as long again by chance,
            so that clients that were refused together do not come together again.
        longest_seconds: of a pause. A server that asks for a longer one by `Retry-After` is not asked again.
    """

    attempts: int = 4
    pause_seconds: float = 0.5
    longest_seconds: float = 30

    def __post_init__(self) -> None:
        check_counts(attempts=self.attempts)
        check_at_least_zero(pause_seconds=self.pause_seconds, longest_seconds=self.longest_seconds)

    def pause(self, attempt: int, status: int, retry_after: str | None) -> float | None:
        """Seconds to wait after an attempt; None where its reply is the last word.

        Args:
            attempt: counted from 1.
            status: of its reply.
            retry_after: the reply's header of this name: seconds, or a date (RFC 9110, 10.2.3).
        """
        if status not in _BUSY or attempt >= self.attempts:
            return None
        asked = _seconds(retry_after)
        if asked is not None:
            return asked if asked <= self.longest_seconds else None
        backoff = self.pause_seconds * 2.0 ** (attempt - 1) * random.uniform(1, 1.5)
        return min(backoff, self.longest_seconds)


RETRIES = Retries()


@dataclass(frozen=True)
class Conversation:
    """One endpoint, and who asks it.

    Attributes:
        address: of its predictions, as `python -m serve` printed it.
        token: of the caller.
        seconds: to wait for a reply, until its last byte.
        retries: of requests that find it busy.
    """

    address: str
    token: str
    seconds: float = 60
    retries: Retries = RETRIES

    def __post_init__(self) -> None:
        check_above_zero(seconds=self.seconds)

    @property
    def explanations(self) -> str:
        """Where it says what an answer goes by."""
        head, _, name = self.address.rpartition("/predictions/")
        return f"{head}/explanations/{name}"

    def headers(self, request_id: str | None = None, media_type: str = "application/json") -> dict[str, str]:
        """Of a request.

        Args:
            request_id: to be echoed; the server makes one if None.
            media_type: of the body.
        """
        named = {} if request_id is None else {"X-Request-ID": request_id}
        return {"Authorization": f"Bearer {self.token}", "Content-Type": media_type, **named}

    async def post(
        self, http: httpx.AsyncClient, body: bytes, headers: dict[str, str], address: str | None = None
    ) -> httpx.Response:
        """Sends a request once; httpx's own time limit is of each read, by which a dripping server has no end.

        Args:
            http: that carries it.
            body: to send.
            headers: likewise.
            address: that of predictions if None.

        Raises:
            UserError: where no reply came in time, or none at all.
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await http.post(address or self.address, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise self.failure(error) from error

    def read(self, status: int, body: bytes, phrase: str) -> Response:
        """A reply's answer.

        Raises:
            RefusedError: if it is a refusal.
            UserError: if it is none of this release's servers.
        """
        if status != HTTPStatus.OK:
            raise refusal(status, body, phrase)
        try:
            return Response.model_validate_json(body)
        except ValidationError as error:  # no JSON, or another object; what stands in it is not ours to show
            raise self._foreign() from error

    def read_explanation(self, status: int, body: bytes, phrase: str) -> Explanation:
        """A reply's explanation; see `read`."""
        if status != HTTPStatus.OK:
            raise refusal(status, body, phrase)
        try:
            return Explanation.model_validate_json(body)
        except ValidationError as error:
            raise self._foreign() from error

    def read_fhir(self, status: int, body: bytes, phrase: str) -> dict[str, Any]:
        """A reply's answer in the form of FHIR; see `read`."""
        if status != HTTPStatus.OK:
            raise refusal(status, body, phrase)
        try:
            content = json.loads(body)
        except ValueError as error:
            raise self._foreign() from error
        if not isinstance(content, dict) or content.get("resourceType") != "Bundle":
            raise self._foreign()
        return content

    def _foreign(self) -> UserError:
        return UserError(f"{self.address}: the answer is none of this release; start its server with python -m serve")

    def failure(self, error: Exception) -> UserError:
        """Where no reply came.

        Args:
            error: of httpx, or the end of the time.
        """
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            return LateError(
                f"{self.address}: no answer within {self.seconds:g} s; send fewer images or raise seconds="
            )
        if isinstance(error, httpx.NetworkError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            return UserError(
                f"{self.address}: its certificate is not trusted; give trust=, see serve.conversation.pinned"
            )
        if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
            return UserError(f"{self.address}: nobody answers; start the server with python -m serve")
        return UserError(f"{self.address}: {error}; give the address that python -m serve printed")


def pinned(certificate: Path) -> ssl.SSLContext:
    """Trust in one certificate alone, whatever the address: for clients that have the server's own file.

    Raises:
        UserError: if it is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is this very certificate, or none
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        # The first alone: of those behind it, which issued it, any other of theirs would pass, too.
        first, end, _ = certificate.read_text(errors="replace").partition(ssl.PEM_FOOTER)
        context.load_verify_locations(cadata=first[first.find(ssl.PEM_HEADER) :] + end)
    except (OSError, TypeError, ValueError) as error:  # SSLError is an OSError; TypeError: not in ASCII
        raise UserError(f"{certificate}: no certificate in PEM; start the server again") from error
    return context


def transport(seconds: float, trust: ssl.SSLContext | None = None) -> dict[str, Any]:
    """Options of httpx: a patient goes to no proxy, follows no redirect and carries no token of a .netrc.

    Args:
        seconds: to wait for a reply.
        trust: what servers are checked by; the machine's authorities if None.
    """
    return {
        "trust_env": False,
        "follow_redirects": False,
        "timeout": seconds,
        "verify": True if trust is None else trust,
    }


def encode(patient: Patient) -> bytes:
    """A request's body: as it is, or as JSON of what it says.

    Raises:
        UserError: if it holds what JSON cannot say.
    """
    if isinstance(patient, bytes):
        return patient
    try:
        return json.dumps(patient, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise UserError(f"request: cannot be said in JSON ({error}); give numbers, text, lists and objects") from error


def refusal(status: int, body: bytes, phrase: str) -> RefusedError:
    """The one telling line of a refusal: of problem details, or in TorchServe's own form."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    fields = content if isinstance(content, dict) else {}
    detail = fields.get("detail") or fields.get("message")
    text = str(detail or body.decode(errors="replace") or phrase)[:_SHOWN]
    line = "".join(character if character.isprintable() else " " for character in text)
    try:
        problem = ProblemDetails.model_validate(content)
    except ValidationError:
        problem = None
    return RefusedError(status, line, problem)


def _seconds(retry_after: str | None) -> float | None:
    """What the header asks for; None where it is missing, or neither seconds nor a date."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
