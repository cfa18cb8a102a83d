"""What every host of the predictor does alike: headers and bodies of HTTP in, replies out."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from foundation.modalities.request import RequestError
from serve.problems import MEDIA_TYPE, ProblemDetails
from serve.schema import Response

if TYPE_CHECKING:  # a host's front reads no bundle, and need not load what does
    from serve.predictor import Predictor

JSON = "application/json"
REQUEST_ID = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


@dataclass
class Call:
    """A request as a host received it.

    Attributes:
        body: of HTTP.
        headers: by name, in whatever letter case.
        default_id: of the request where the sender gives none, or one that no log should hold.
    """

    body: Any
    headers: Mapping[str, Any]
    default_id: str

    def header(self, name: str) -> str | None:
        """A header's text; None where there is none."""
        values = (value for key, value in self.headers.items() if key.lower() == name)
        return next((value for value in values if isinstance(value, str)), None)

    @property
    def request_id(self) -> str:
        """The sender's, if it is a short plain word, else the host's."""
        sent = self.header(REQUEST_ID)
        return sent if sent is not None and _ID.fullmatch(sent) else self.default_id

    def refusal(self) -> RequestError | None:
        """Of a body that is not declared as JSON: hosts read other kinds in their own ways."""
        kind = (self.header("content-type") or JSON).partition(";")[0].strip().lower()
        if kind == JSON:
            return None
        advice = f"send one JSON object a patient, as Content-Type: {JSON}"
        return RequestError("Content-Type", f"found {kind[:80]!r}", advice, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


@dataclass
class Reply:
    """What goes back to one sender."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def phrase(self) -> str:
        """The status in HTTP's words."""
        return HTTPStatus(self.status).phrase


def answer(predictor: "Predictor", calls: Sequence[Call]) -> list[Reply]:
    """Replies to a batch of requests, in order."""
    refused = [call.refusal() for call in calls]
    readable = [call for call, error in zip(calls, refused, strict=True) if error is None]
    answers = iter(predictor.answer([call.body for call in readable], [call.request_id for call in readable]))
    results = [next(answers) if error is None else error for error in refused]
    return [to_reply(result, call.request_id) for result, call in zip(results, calls, strict=True)]


def to_reply(result: Response | RequestError, request_id: str) -> Reply:
    """An answer or a refusal as HTTP carries it."""
    if isinstance(result, RequestError):
        details = ProblemDetails.of(result, request_id)
        return Reply(details.status, _encode(details), {"content-type": MEDIA_TYPE, REQUEST_ID: request_id})
    return Reply(HTTPStatus.OK, _encode(result), {"content-type": JSON, REQUEST_ID: request_id})


def _encode(content: Response | ProblemDetails) -> bytes:
    # ASCII: what a sender wrote comes back in refusals, and need not be text that UTF-8 can hold.
    return json.dumps(content.model_dump(), allow_nan=False).encode()
