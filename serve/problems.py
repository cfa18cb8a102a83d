"""Refusals as every host sends them: problem details for HTTP (RFC 9457)."""

from http import HTTPStatus

from pydantic import BaseModel

from foundation.data.problems import DataError
from foundation.errors import UserError
from foundation.modalities.request import RequestError

MEDIA_TYPE = "application/problem+json"
_KINDS = {
    HTTPStatus.BAD_REQUEST: ("malformed-request", "The body is not one JSON object"),
    HTTPStatus.UNAUTHORIZED: ("no-token", "The request carries no valid token"),
    HTTPStatus.NOT_FOUND: ("not-found", "There is no such path or document"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("wrong-method", "The path is asked in another way"),
    HTTPStatus.PRECONDITION_FAILED: ("missing-prefetch", "What the answer would rest on did not come with the call"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("too-large", "The request holds more than is read"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("not-json", "The body is not declared as JSON"),
    HTTPStatus.UNPROCESSABLE_ENTITY: ("unreadable-request", "A field cannot be read"),
    HTTPStatus.TOO_MANY_REQUESTS: ("too-many-requests", "More requests wait than can be answered in time"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("failure", "The server failed on this request"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("unavailable", "The model is not ready"),
}


class ProblemDetails(BaseModel):
    """Why a request got no answer.

    Attributes:
        type: of the problem, the same for all problems of its kind.
        title: the kind in words.
        status: of HTTP.
        detail: this one in one line.
        field: where in the request, such as `record.age`.
        reason: what is wrong there.
        remedy: what to send or do instead.
        request_id: as the answer would have echoed it.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str
    reason: str
    remedy: str
    request_id: str

    @classmethod
    def of(cls, error: RequestError, request_id: str) -> "ProblemDetails":
        """Of a refusal."""
        kind, title = _KINDS[HTTPStatus(error.status)]
        return cls(
            type=f"urn:consilium:problem:{kind}",
            title=title,
            status=error.status,
            detail=str(error),
            field=error.field,
            reason=error.reason,
            remedy=error.remedy,
            request_id=request_id,
        )

    def error(self) -> RequestError:
        """The way back."""
        return RequestError(self.field, self.reason, self.remedy, self.status)


def to_request_error(error: UserError) -> RequestError:
    """A refusal in parts, of one that was worded for files or for the whole request."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, DataError):
        problem = error.problem
        value = f" ({problem.value})" if problem.value else ""
        within = f" field {problem.field}:" if problem.field else ""
        return RequestError(problem.file, f"{within} {problem.finding}{value}".strip(), problem.advice)
    field, _, rest = str(error).partition(": ")
    reason, _, remedy = rest.partition("; ")
    return RequestError(field, reason, remedy)


def internal_error() -> RequestError:
    """The refusal of a request on which the server failed, in none of the failure's own words: they may hold values."""
    reason = "the server failed on it"
    advice = "send it again; if that fails, too, tell the operator the request id"
    return RequestError("request", reason, advice, HTTPStatus.INTERNAL_SERVER_ERROR)
