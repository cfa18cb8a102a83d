"""What every host of the predictor does alike: headers and bodies of HTTP in, replies out."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from foundation.modalities.request import RequestError
from serve.problems import MEDIA_TYPE, ProblemDetails
from serve.schema import Response

if TYPE_CHECKING:  # a host's front reads no bundle, and need not load what does
    from serve.fhir.reading import Reading
    from serve.predictor import Predictor

JSON, FHIR = "application/json", "application/fhir+json"
REQUEST_ID = "x-request-id"
_COUNTED = ("prediction", "reliability", "modalities_used", "examined", "version")
_CHARSET = re.compile(r"""\s*charset\s*=\s*["']?([^"'\s]*)["']?\s*""", re.IGNORECASE)
_UTF_8 = ("utf-8", "utf8", "us-ascii")  # what is read as such, or is it too
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

    @property
    def kind(self) -> str:
        """Media type of the body, without parameters."""
        return (self.header("content-type") or JSON).partition(";")[0].strip().lower()

    def refusal(self) -> RequestError | None:
        """Of a body that is declared as neither JSON nor FHIR, which hosts read in their own ways, or not as UTF-8."""
        if self.kind in (JSON, FHIR):
            charset = next(filter(None, map(_CHARSET.fullmatch, (self.header("content-type") or "").split(";"))), None)
            if charset is None or charset[1].lower() in _UTF_8:
                return None
            reason = f"found charset={charset[1][:80]}"
            advice = "send JSON as UTF-8"
            return RequestError("Content-Type", reason, advice, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        advice = f"send one JSON object a patient, as Content-Type: {JSON}"
        return RequestError("Content-Type", f"found {self.kind[:80]!r}", advice, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


@dataclass
class Reply:
    """What goes back to one sender.

    Attributes:
        status: of HTTP.
        body: likewise.
        headers: likewise.
        counted: of an answer, in whatever form it is sent, what monitoring and feedback read of it.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    counted: dict[str, Any] | None = None

    @property
    def phrase(self) -> str:
        """The status in HTTP's words."""
        return HTTPStatus(self.status).phrase


def answer(predictor: "Predictor", calls: Sequence[Call]) -> list[Reply]:
    """Replies to a batch of requests, in order."""
    heard = [_hear(predictor, call) for call in calls]
    readable = [(call, one) for call, one in zip(calls, heard, strict=True) if not isinstance(one, RequestError)]
    bodies = [call.body if one is None else one.request for call, one in readable]
    answers = iter(predictor.answer(bodies, [call.request_id for call, _ in readable]))
    return [
        to_reply(one, call.request_id)
        if isinstance(one, RequestError)
        else to_reply(next(answers), call.request_id, None if one is None else partial(predictor.write_fhir, one))
        for call, one in zip(calls, heard, strict=True)
    ]


def _hear(predictor: "Predictor", call: Call) -> "Reading | RequestError | None":
    """What a body of FHIR says, or why it is not read; None of JSON, which the predictor reads by itself."""
    refusal = call.refusal()
    return refusal if refusal is not None or call.kind == JSON else predictor.read_fhir(call.body)


def to_reply(
    result: Response | RequestError,
    request_id: str,
    write_fhir: Callable[[Response], dict[str, Any] | RequestError] | None = None,
) -> Reply:
    """An answer or a refusal as HTTP carries it.

    Args:
        result: to send.
        request_id: echoed.
        write_fhir: gives the answer the form of FHIR, where that was asked; refusals have one form for all.
    """
    if isinstance(result, RequestError):
        details = ProblemDetails.of(result, request_id)
        headers = {"content-type": MEDIA_TYPE, REQUEST_ID: request_id}
        return Reply(details.status, _encode(details.model_dump()), headers)
    content, kind = result.model_dump(), JSON
    counted = {name: content[name] for name in _COUNTED}
    if write_fhir is not None:
        written = write_fhir(result)
        if isinstance(written, RequestError):
            return to_reply(written, request_id)
        content, kind = written, FHIR
    return Reply(HTTPStatus.OK, _encode(content), {"content-type": kind, REQUEST_ID: request_id}, counted)


def _encode(content: dict[str, Any]) -> bytes:
    # ASCII: what a sender wrote comes back in refusals, and need not be text that UTF-8 can hold.
    return json.dumps(content, allow_nan=False).encode()
