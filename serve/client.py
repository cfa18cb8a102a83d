"""The client of the endpoint, and a patient written as a request.

from serve.client import Client

client = Client.of(Path("runs/serve"))
client.predict({"report": "Diffuse glioma."}).prediction
"""

import asyncio
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from serve.conversation import RETRIES, Conversation, Patient, Retries, encode, transport
from serve.host import FHIR
from serve.schema import BundleSchema, Response
from serve.server import Server


class Client:
    """Asks an endpoint, one request after another; see `serve.async_client.AsyncClient` for many at a time.

    Args:
        address: of its predictions, as `python -m serve` printed it.
        token: of the caller.
        seconds: to wait for a reply, until its last byte.
        retries: of requests that find it busy.
        trust: what its certificate is checked by; the machine's authorities if None.
    """

    def __init__(
        self,
        address: str,
        token: str,
        seconds: float = 60,
        retries: Retries = RETRIES,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._conversation = Conversation(address, token, seconds, retries)
        self._options = transport(seconds, trust)

    @classmethod
    def of(cls, folder: Path, **options: Any) -> "Client":
        """The client of the server that runs from a folder of `python -m serve`, by its own token.

        Raises:
            UserError: if none was started there.
        """
        server = Server.load(folder)
        return cls(server.address, server.token(), trust=server.trust(), **options)

    def predict(self, patient: Patient, request_id: str | None = None) -> Response:
        """The answer about one patient.

        Args:
            patient: by modality, as `request.schema.json` of the bundle says; or that as JSON text.
            request_id: to be echoed.

        Raises:
            RefusedError: if the server refuses it, and again where it is busy.
            UserError: if nobody answers, or it is no server of this release.
        """
        reply = self._ask(encode(patient), self._conversation.headers(request_id))
        return self._conversation.read(reply.status_code, reply.content, reply.reason_phrase)

    def predict_fhir(self, bundle: Patient, request_id: str | None = None) -> dict[str, Any]:
        """The answer about the patient of a FHIR R4 Bundle, as one: RiskAssessment, DiagnosticReport and Provenance.

        Args:
            bundle: of one patient; or that as JSON text.
            request_id: to be echoed.

        Raises:
            UserError: see `predict`.
        """
        reply = self._ask(encode(bundle), self._conversation.headers(request_id, FHIR))
        return self._conversation.read_fhir(reply.status_code, reply.content, reply.reason_phrase)

    def _ask(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            reply = self._post(body, headers)
            pause = self._conversation.retries.pause(attempt, reply.status_code, reply.headers.get("Retry-After"))
            if pause is None:
                return reply
            time.sleep(pause)

    def _post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        async def post() -> httpx.Response:
            async with httpx.AsyncClient(**self._options) as http:
                return await self._conversation.post(http, body, headers)

        # Only asyncio ends a whole request in time; in a thread of its own, for notebooks have a loop in theirs.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, post()).result()


def to_request(sample: dict[str, Any], schema: BundleSchema) -> dict[str, Any]:
    """A raw sample, as `Cohort.sample` gives it, as the request that says the same.

    Args:
        sample: raw values by modality.
        schema: of the bundle that will answer; what it does not know is left out.
    """
    return {name: form.write(sample[name]) for name, form in schema.modalities.items() if name in sample}
