"""Feedback of a running host: answers are kept as they go out, and of a release in the shadow none goes out.

The patient is named by the header `X-Patient`, which is hashed at once and stands in no log and no audit trail.
"""

import json
import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.modalities.request import RequestError
from serve.feedback.declared import Declared
from serve.feedback.ledger import FeedbackLedger
from serve.feedback.quarters import quarter_of
from serve.feedback.store import Store
from serve.host import JSON, REQUEST_ID, Call, Reply

_LONGEST = 256  # characters of an id
_LOG = logging.getLogger("serve")


class Keeper:
    """Keeps answers about patients who are named.

    Args:
        folder: of the hospital's feedback, in which the release was declared.
        shadow: whether a release answers nobody before its outcomes have cleared it.
        version: of the release that answers first.

    Raises:
        UserError: if it was not declared.
    """

    def __init__(self, folder: Path, shadow: bool, version: str) -> None:
        self._ledger, self._shadow = FeedbackLedger(folder), shadow
        self._ledger.of_version(version)
        self._store = Store(folder)
        self._read_at: tuple[int, int] | None = None
        self._declared: dict[str, Declared] = {}
        self._cleared: set[str] = set()

    def keep(self, call: Call, reply: Reply, sent: bytes | None) -> Reply:
        """What goes out in place of a reply: itself, or in the shadow word that it was kept.

        Args:
            call: that was answered.
            reply: to it.
            sent: the header that names the patient, in UTF-8, as tables of outcomes are; None where there is none.

        Raises:
            RequestError: if the header is not in UTF-8; in the shadow, of a request that names no patient or asks for
                an explanation, or where nothing can be kept.
        """
        if reply.status != HTTPStatus.OK:
            return reply
        if reply.counted is None:
            if self._shadow:
                raise _hidden("request", "an explanation tells the answer", "ask when the release is cleared")
            return reply
        version = str(reply.counted["version"])
        patient = _name(sent)
        try:
            self._read()
            hidden = self._shadow and version not in self._cleared
            if patient is not None:
                self._keep(patient, reply.counted, version, hidden)
        except (UserError, OSError) as error:
            if self._shadow:
                raise _hidden("request", "the answer cannot be kept", "tell the operator") from error
            _LOG.error("an answer was not kept for feedback (%s)", error)
            return reply
        if not hidden:
            return reply
        if patient is None:
            raise _hidden("X-Patient", "not given", "name the patient, whose outcome will come by this id")
        content = json.dumps({"kept": True, "request_id": call.request_id}).encode()
        headers = {"content-type": JSON, REQUEST_ID: call.request_id}
        return Reply(HTTPStatus.ACCEPTED, content, headers, reply.counted)

    def _keep(self, patient: str, content: dict[str, Any], version: str, hidden: bool) -> None:
        declared = self._declared.get(version)
        if declared is None:
            raise UserError(f"version {version} was not declared for feedback")
        self._store.keep([declared.answer(patient, content)], quarter_of(None), hidden)

    def _read(self) -> None:
        """The ledger again, where it was written to since."""
        stat = self._ledger.file.path.stat()
        if (at := (stat.st_mtime_ns, stat.st_size)) != self._read_at:
            self._declared = self._ledger.declared()
            self._cleared = {version for version in self._declared if self._ledger.is_cleared(version)}
            self._read_at = at


def _name(sent: bytes | None) -> str | None:
    """The id that a header holds; None where it holds none."""
    try:
        patient = (sent or b"").decode().strip()
    except UnicodeDecodeError as error:  # another encoding would be kept as somebody whose outcome never comes
        advice = "send the id as UTF-8, as the table of outcomes has it"
        raise RequestError("X-Patient", "not in UTF-8", advice, HTTPStatus.BAD_REQUEST) from error
    if len(patient) > _LONGEST:  # answered without being kept, its outcome would come to nobody
        reason = f"longer than {_LONGEST} characters, with {len(patient)}"
        advice = "send the id alone, as the table of outcomes has it"
        raise RequestError("X-Patient", reason, advice, HTTPStatus.BAD_REQUEST)
    return patient or None


def _hidden(field: str, reason: str, advice: str) -> RequestError:
    status = HTTPStatus.BAD_REQUEST if field == "X-Patient" else HTTPStatus.SERVICE_UNAVAILABLE
    return RequestError(field, f"{reason}, and this release is in the shadow", advice, status)
