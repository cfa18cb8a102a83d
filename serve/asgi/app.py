"""The ASGI application of an endpoint: token before body, budgets before work, one form of refusal."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from foundation.modalities.request import RequestError, field_name
from serve import openapi
from serve.asgi import inference
from serve.asgi.http import Exchange, Message, Receive, Send, SenderGoneError, json_reply, too_large
from serve.asgi.pool import Pool
from serve.asgi.recorder import Recorder
from serve.asgi.tokens import Tokens
from serve.card_endpoint import Card
from serve.explained import HEADER as EXPLAIN
from serve.hooks.cards import refusal_card, to_cards
from serve.hooks.discovery import PATH as HOOKS
from serve.hooks.reading import read_hook
from serve.host import FHIR, JSON, Call, Reply, to_reply
from serve.monitoring.observer import Observer
from serve.page.assets import page_reply
from serve.reading import MOST_BYTES

if TYPE_CHECKING:  # a host without feedback need not load what reads tables
    from serve.feedback.keeper import Keeper

_LOG = logging.getLogger("serve")
_LIVE = {"/health/live", "/v2/health/live"}
_PROMETHEUS = "text/plain; version=0.0.4"
_READY = {"/health/ready", "/v2/health/ready", "/ping"}


class App:
    """What the endpoint serves, path by path.

    Args:
        model: its name.
        version: its version.
        document: OpenAPI of the endpoint.
        pool: that answers.
        tokens: of those who may ask.
        observer: is told of each request.
        hooks: what is offered by CDS Hooks; nothing if None.
    """

    def __init__(
        self,
        model: str,
        version: str,
        document: dict[str, Any],
        pool: Pool,
        tokens: Tokens,
        observer: Observer,
        hooks: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.pool = pool
        self.tokens = tokens
        self.observer = observer
        self.in_recorder = Recorder().do
        self.serve(version, document, hooks or {"services": []})
        self.card: Card | None = None  # None before the bundle was verified, as are its examples
        self.examples: bytes | None = None
        self.feedback: Keeper | None = None  # where answers are kept

    def serve(self, version: str, document: dict[str, Any], hooks: dict[str, Any]) -> None:
        """Takes the paths and pages of a version of the model."""
        self.version = version
        path = f"/v2/models/{self.model}"
        names = [path, f"{path}/versions/{version}"]
        self._predictions = {openapi.predictions_path(self.model): self._predict}
        self._explanations = openapi.explanations_path(self.model)
        self._predictions[self._explanations] = self._predict
        self._predictions |= {f"{name}/infer": self._infer for name in names}
        self._predictions |= {f"{HOOKS}/{service['id']}": self._hook for service in hooks["services"]}
        self._prefetch = [name for service in hooks["services"] for name in service["prefetch"]]
        metadata = inference.model_metadata(self.model, version)
        self._pages = {"/openapi.json": document, "/v2": inference.server_metadata(), HOOKS: hooks}
        self._pages |= dict.fromkeys(names, metadata)
        self._model_ready = {f"{name}/ready" for name in names}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request of ASGI."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, str(uuid.uuid4()))
        begun = time.monotonic()
        if exchange.path == self._explanations:
            exchange.call.headers = {**exchange.call.headers, EXPLAIN: "True"}
        try:
            reply = await self._reply(exchange)
        except RequestError as error:
            reply = self._refusal(exchange, error)
        except SenderGoneError:
            return
        if exchange.path in self._predictions:
            asked = exchange.asked or [(exchange.call, reply)]
            if not await self.in_recorder(self._recorded, exchange.caller, asked, time.monotonic() - begun):
                advice = "send it again; if that fails, too, tell the operator"
                reason = "the server cannot write its audit trail, and answers nothing that is not in it"
                reply = self._refusal(exchange, RequestError("request", reason, advice, HTTPStatus.SERVICE_UNAVAILABLE))
        await exchange.reply(reply)

    async def _reply(self, exchange: Exchange) -> Reply:
        path = exchange.path
        if path in _LIVE:
            return json_reply({"live": True})
        if path in _READY:
            return self._readiness({})
        page = page_reply(path)
        if page is not None:
            _check_method(exchange, "GET")
            return page
        exchange.caller = self.tokens.caller(exchange.headers.get(b"authorization"))
        if exchange.caller is None:
            advice = "send the token of the server's key file as Authorization: Bearer TOKEN"
            raise RequestError("Authorization", "no valid token", advice, HTTPStatus.UNAUTHORIZED)
        if path in self._model_ready:
            return self._readiness({"name": self.model})
        if path == "/card" and self.card is not None:
            _check_method(exchange, "GET")
            return _shown(self.card, exchange)
        if path == "/examples" and self.examples is not None:
            _check_method(exchange, "GET")
            return Reply(HTTPStatus.OK, self.examples, {"content-type": JSON})
        if path in self._predictions:
            _check_method(exchange, "POST")
            return await self._predictions[path](exchange)
        if path == "/metrics":
            _check_method(exchange, "GET")
            text = await self.in_recorder(self.observer.metrics, self._gauges())
            return Reply(HTTPStatus.OK, text.encode(), {"content-type": _PROMETHEUS})
        if path in self._pages:
            _check_method(exchange, "GET")
            return json_reply(self._pages[path])
        advice = f"ask {openapi.predictions_path(self.model)}; /openapi.json describes it"
        raise RequestError(field_name(path), "nothing is served there", advice, HTTPStatus.NOT_FOUND)

    def _recorded(self, caller: str | None, asked: Sequence[tuple[Call, Reply]], seconds: float) -> bool:
        """Whether all of it stands in the audit trail."""
        try:
            for call, reply in asked:
                if call.header(EXPLAIN):  # no further use of the model, which drift is told from
                    self.observer.trail.add(caller, call.request_id, call.body, reply.status)
                else:
                    self.observer.observe(caller, call, reply, seconds)
        except OSError as error:
            _LOG.error("the audit trail cannot be written (%s); requests are refused until it can", error.strerror)
            return False
        return True

    def _gauges(self) -> dict[str, float]:
        pool = self.pool
        return {
            "workers_ready": pool.ready_workers,
            "worker_restarts_total": pool.restarts,
            "waiting_requests": pool.waiting,
            "batches_total": pool.batches,
            "batched_requests_total": pool.batched,
        }

    def _readiness(self, content: dict[str, str]) -> Reply:
        ready = self.pool.ready_workers > 0
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return json_reply({**content, "ready": ready}, status)

    async def _predict(self, exchange: Exchange) -> Reply:
        """A patient."""
        refusal = exchange.call.refusal()
        if refusal is not None:
            raise refusal
        async with self._body(exchange) as exchange.call.body:
            return await self._kept(exchange, exchange.call, await self.pool.answer(exchange.call))

    async def _hook(self, exchange: Exchange) -> Reply:
        """A patient, in a call of CDS Hooks."""
        refusal = exchange.call.refusal()
        if refusal is not None:
            raise refusal
        label = f"{self.model} {self.version} (Consilium)"
        async with self._body(exchange) as body:
            try:  # in a thread: a record may be large, and others wait for nobody's
                bundle, instance = await asyncio.to_thread(read_hook, body, self._prefetch)
            except RequestError as error:
                card = refusal_card(error, exchange.call.request_id, label)
                if card is None:
                    raise
                return card
            call = Call(json.dumps(bundle).encode(), {**exchange.call.headers, "content-type": FHIR}, instance)
            answer = await self.pool.answer(call)
            exchange.asked = [(call, answer)]
            reply = await self._kept(exchange, call, answer)
        return to_cards(reply, label)

    async def _infer(self, exchange: Exchange) -> Reply:
        """Patients, in the form of the Open Inference Protocol."""
        async with self._body(exchange) as body:
            calls = await self._patients(body, exchange.call)
            if len(calls) > 1 and exchange.patient is not None and self.feedback is not None:
                reason, advice = f"one id for {len(calls)} patients", "send each in a call of its own"
                raise RequestError("X-Patient", reason, advice, HTTPStatus.BAD_REQUEST)
            answers = await asyncio.gather(*(self.pool.answer(one) for one in calls))
            replies = [await self._kept(exchange, call, reply) for call, reply in zip(calls, answers, strict=True)]
            exchange.asked = list(zip(calls, replies, strict=True))
        request_id = calls[0].request_id.rpartition("/")[0] if len(calls) > 1 else calls[0].request_id
        status, content = inference.of_replies(replies, self.model, self.version, request_id)
        return json_reply(content, status)

    async def _kept(self, exchange: Exchange, call: Call, reply: Reply) -> Reply:
        """What goes out of an answer, once feedback has kept it."""
        if self.feedback is None:
            return reply
        return await self.in_recorder(self.feedback.keep, call, reply, exchange.patient)

    async def _patients(self, body: bytes, call: Call) -> list[Call]:
        """Those of a call of the protocol; a worker parses a large body, so that nobody waits for it here."""
        if len(body) <= inference.SMALL:
            return inference.to_calls(body, call.headers, call.default_id)
        headers = {**call.headers, "content-type": inference.MEDIA_TYPE}
        return inference.joined(await self.pool.answer(Call(body, headers, call.default_id)))

    @asynccontextmanager
    async def _body(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """A body with its room: what its sender counts is taken before it is read, and the rest as it comes."""
        coding = exchange.headers.get(b"content-encoding", b"identity").lower()
        if coding != b"identity":  # compressed, it would be counted before it is what it is
            reason, advice = f"found {coding[:80].decode('latin-1')}", "send it as it is, not compressed"
            raise RequestError("Content-Encoding", reason, advice, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        declared = exchange.declared_size()
        if declared > MOST_BYTES:
            raise too_large(declared)
        reserved = 0

        def reserve(size: int) -> None:
            nonlocal reserved
            if size <= reserved:
                return
            if (refusal := self.pool.reserve(size - reserved)) is not None:
                raise refusal
            reserved = size

        try:
            reserve(max(1, declared))  # where too many wait, nothing is read
            yield await exchange.body(reserve)
        finally:
            self.pool.release(reserved)

    def _refusal(self, exchange: Exchange, error: RequestError) -> Reply:
        reply = to_reply(error, exchange.call.request_id)
        if exchange.path.startswith("/v2"):
            reply.body = json.dumps({"error": str(error)}).encode()
            reply.headers["content-type"] = "application/json"
        if error.status == HTTPStatus.TOO_MANY_REQUESTS:
            reply.headers["retry-after"] = "1"
        if error.status == HTTPStatus.UNAUTHORIZED:
            reply.headers["www-authenticate"] = "Bearer"
        return reply


def _shown(card: Card, exchange: Exchange) -> Reply:
    """The document of the bundle's card that is accepted: the page, where anything is."""
    accept = exchange.headers.get(b"accept", b"").decode("latin-1").strip()
    page = not accept or accept.startswith("*/*")
    headers = {**exchange.call.headers, "accept": "text/html" if page else accept}
    reply = card.reply(Call(b"", headers, exchange.call.default_id))
    if reply is None:
        advice = "accept text/html, text/markdown, application/xml or application/pdf"
        raise RequestError("Accept", "no document of the card is of that kind", advice, HTTPStatus.NOT_FOUND)
    return reply


def _check_method(exchange: Exchange, method: str) -> None:
    if exchange.method != method:
        raise RequestError("method", f"found {exchange.method}", f"use {method}", HTTPStatus.METHOD_NOT_ALLOWED)
