"""An answer about a patient as cards of CDS Hooks: what is predicted, that the model abstains, or why there is none.

Source: HL7 CDS Hooks 2.0 (card attributes).
"""

import json
import re
import uuid
from http import HTTPStatus
from typing import Any

from foundation.modalities.request import RequestError
from serve.host import JSON, REQUEST_ID, Reply

_LONGEST = 139  # characters of a summary
_ABSTAINS = "The model abstains"
_MARKS = re.compile(r"([\\`*_\[\]<>|#])")
# Refusals of what was sent: a card tells them to who looks at the patient. Others are the caller's to act on.
_TOLD = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


def to_cards(reply: Reply, label: str) -> Reply:
    """The reply to a call of the hook.

    Args:
        reply: of a worker, to the call's Bundle of FHIR.
        label: of the model, as the cards' source.
    """
    if reply.status == HTTPStatus.ACCEPTED:  # kept in the shadow: nobody at the record is to see an answer
        return _reply(reply)
    content = json.loads(reply.body)
    if reply.status == HTTPStatus.OK:
        lines = _conclusion(content)
        indicator = "warning" if lines[0].startswith(_ABSTAINS) else "info"
        return _reply(reply, _card(lines[0], lines[1:], indicator, label))
    if reply.status in _TOLD:
        return _reply(reply, _refusal(str(content.get("detail", "")), label))
    return reply


def refusal_card(error: RequestError, request_id: str, label: str) -> Reply | None:
    """The reply to a call that was refused before it reached a worker; None where the caller is to act on it."""
    if error.status not in _TOLD:
        return None
    return _reply(Reply(HTTPStatus.OK, b"", {REQUEST_ID: request_id}), _refusal(str(error), label))


def _refusal(detail: str, label: str) -> dict[str, Any]:
    return _card(f"No answer: {detail}", [detail], "warning", label)


def _card(summary: str, lines: list[str], indicator: str, label: str) -> dict[str, Any]:
    short = summary if len(summary) <= _LONGEST else f"{summary[: _LONGEST - 3]}..."
    whole = [summary, *lines] if short != summary else lines
    return {
        "uuid": str(uuid.uuid4()),
        "summary": short,
        "detail": "\n".join("- " + _MARKS.sub(r"\\\1", line) for line in whole),
        "indicator": indicator,
        "source": {"label": label},
    }


def _conclusion(bundle: dict[str, Any]) -> list[str]:
    """The report's lines, the answer first."""
    resources = [entry["resource"] for entry in bundle["entry"]]
    (report,) = [one for one in resources if one["resourceType"] == "DiagnosticReport"]
    return str(report["conclusion"]).split("\n")


def _reply(reply: Reply, *cards: dict[str, Any]) -> Reply:
    headers = {**reply.headers, "content-type": JSON}
    return Reply(HTTPStatus.OK, json.dumps({"cards": cards}).encode(), headers, reply.counted)
