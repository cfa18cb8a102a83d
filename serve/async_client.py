"""The client of the endpoint for programs that do other things meanwhile, or ask about many patients at a time.

from serve.async_client import AsyncClient

async with AsyncClient.of(Path("runs/serve")) as client:
    answers = await client.predict_all(patients)
"""

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from serve.conversation import RETRIES, Conversation, Patient, RefusedError, Retries, encode, transport
from serve.explained import Explanation
from serve.host import FHIR
from serve.limits import check_counts
from serve.schema import Response
from serve.server import Server

AT_ONCE = 16  # requests: more than a worker takes in one pass, so that it never waits


class AsyncClient:
    """Asks an endpoint over connections that it keeps.

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
        self._http = httpx.AsyncClient(**transport(seconds, trust))

    @classmethod
    def of(cls, folder: Path, **options: Any) -> "AsyncClient":
        """The client of the server that runs from a folder of `python -m serve`, by its own token.

        Raises:
            UserError: if none was started there.
        """
        server = Server.load(folder)
        return cls(server.address, server.token(), trust=server.trust(), **options)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()

    async def predict(self, patient: Patient, request_id: str | None = None) -> Response:
        """The answer about one patient; see `serve.client.Client.predict`."""
        reply = await self._ask(encode(patient), self._conversation.headers(request_id))
        return self._conversation.read(reply.status_code, reply.content, reply.reason_phrase)

    async def explain(self, patient: Patient, request_id: str | None = None) -> Explanation:
        """What the answer about one patient goes by; the server takes some hundred passes for it.

        Args:
            patient: as of `predict`.
            request_id: to be echoed.
        """
        headers = self._conversation.headers(request_id)
        reply = await self._ask(encode(patient), headers, self._conversation.explanations)
        return self._conversation.read_explanation(reply.status_code, reply.content, reply.reason_phrase)

    async def predict_fhir(self, bundle: Patient, request_id: str | None = None) -> dict[str, Any]:
        """The answer about the patient of a FHIR R4 Bundle; see `serve.client.Client.predict_fhir`."""
        reply = await self._ask(encode(bundle), self._conversation.headers(request_id, FHIR))
        return self._conversation.read_fhir(reply.status_code, reply.content, reply.reason_phrase)

    async def predict_all(self, patients: Iterable[Patient], at_once: int = AT_ONCE) -> list[Response | RefusedError]:
        """In order, an answer or a refusal each.

        Args:
            patients: as of `predict`.
            at_once: most requests on their way.

        Raises:
            UserError: if nobody answers, it is no server of this release, or none may be on their way.
        """
        check_counts(at_once=at_once)
        room = asyncio.Semaphore(at_once)

        async def ask(patient: Patient) -> Response | RefusedError:
            async with room:
                try:
                    return await self.predict(patient)
                except RefusedError as error:
                    return error

        tasks = [asyncio.create_task(ask(patient)) for patient in patients]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # where one found nobody, the others need not try
                task.cancel()

    async def _ask(self, body: bytes, headers: dict[str, str], address: str | None = None) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            reply = await self._conversation.post(self._http, body, headers, address)
            pause = self._conversation.retries.pause(attempt, reply.status_code, reply.headers.get("Retry-After"))
            if pause is None:
                return reply
            await asyncio.sleep(pause)
