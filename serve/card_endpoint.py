"""The card at the endpoint: an empty request that accepts no JSON gets the page, or another of the card's documents."""

from http import HTTPStatus
from pathlib import Path

from foundation.modalities.request import RequestError
from serve.host import REQUEST_ID, Call, Reply, to_reply

FOLDER = "card"  # of a bundle
_DOCUMENTS = {
    "text/html": "card.html",
    "text/markdown": "README.md",
    "application/xml": "chai.xml",
    "application/vnd.cyclonedx+json": "bom.json",
    "application/pdf": "card.pdf",
}
_TEXT = "; charset=utf-8"


def card_reply(bundle: Path, call: Call) -> Reply | None:
    """A document of the bundle's card; None where the request asks for an answer of the model.

    Args:
        bundle: folder, already held to its manifest.
        call: the request.
    """
    kind = (call.header("accept") or "").partition(",")[0].partition(";")[0].strip().lower()
    if call.body or kind not in _DOCUMENTS:
        return None
    path = bundle / FOLDER / _DOCUMENTS[kind]
    if not path.is_file():
        advice = "ask its operator to export it with card=..., or accept another kind"
        error = RequestError("Accept", f"this model has no {kind} card", advice, HTTPStatus.NOT_FOUND)
        return to_reply(error, call.request_id)
    headers = {"content-type": kind + (_TEXT if kind.startswith("text/") else ""), REQUEST_ID: call.request_id}
    return Reply(HTTPStatus.OK, path.read_bytes(), headers)
