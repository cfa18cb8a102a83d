"""The card at the endpoint: an empty request that accepts no JSON gets the page, or another of the card's documents."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from foundation.modalities.request import RequestError
from serve import manifest
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


class Card:
    """The documents of a card, read once: requests wait for no disk, and see what was signed.

    Args:
        documents: by media type; empty where the bundle was exported without a card.
    """

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self._documents = documents

    @classmethod
    def load(cls, bundle: Path, seal: str | None = None) -> "Card":
        """The card of a bundle.

        Args:
            bundle: folder.
            seal: of its manifest when it was verified; see `manifest.read_file`.

        Raises:
            UserError: if a document is not as it was exported.
        """
        contents = {kind: manifest.read_file(bundle, f"{FOLDER}/{name}", seal) for kind, name in _DOCUMENTS.items()}
        return cls({kind: content for kind, content in contents.items() if content is not None})

    def reply(self, call: Call) -> Reply | None:
        """A document; None where the request asks for an answer of the model."""
        kind = (call.header("accept") or "").partition(",")[0].partition(";")[0].strip().lower()
        if call.body or kind not in _DOCUMENTS:
            return None
        document = self._documents.get(kind)
        if document is None:
            advice = "ask its operator to export it with card=..., or accept another kind"
            error = RequestError("Accept", f"this model has no {kind} card", advice, HTTPStatus.NOT_FOUND)
            return to_reply(error, call.request_id)
        headers = {"content-type": kind + (_TEXT if kind.startswith("text/") else ""), REQUEST_ID: call.request_id}
        return Reply(HTTPStatus.OK, document, headers)
