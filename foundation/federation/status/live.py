"""A run's state as a page that follows it, with `/state.json` for programs and `/metrics` for Prometheus."""

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from foundation.errors import UserError
from foundation.federation.status.state import RunState
from foundation.federation.status.text import as_prometheus
from foundation.files import SECRET, write_text
from foundation.ports import LOOPBACK, check_port

_KINDS = {"live.html": "text/html", "live.css": "text/css", "live.js": "text/javascript"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the address holds the token
    "cache-control": "no-store",
}
_FRESH = 1.0  # seconds for which a state is shown again, however many look


def as_json(state: RunState) -> dict[str, Any]:
    """A run's state in plain values: times in ISO 8601, durations in seconds."""
    content = asdict(state) | {"folder": str(state.folder)}
    return content | {"deadline": None if state.deadline is None else state.deadline.isoformat()}


def build_app(read: Callable[[], RunState], token: str) -> Starlette:
    """The page and what it asks; all of it wants the token, but for files that say nothing of a run.

    Args:
        read: a run's state, from disk.
        token: in `Authorization: Bearer`, or as `?token=` in the page's address.
    """
    files = resources.files("foundation.federation.status") / "static"
    latest: list[tuple[float, RunState]] = []
    one_at_a_time = asyncio.Lock()

    async def state() -> RunState:
        async with one_at_a_time:
            if not latest or time.monotonic() - latest[0][0] > _FRESH:
                latest[:] = [(time.monotonic(), await asyncio.to_thread(read))]
            return latest[0][1]

    async def page(request: Request) -> Response:
        return _file("live.html") if _knows(request, token) else _refusal()

    async def static(request: Request) -> Response:
        return _file(request.path_params["name"])

    def _file(name: str) -> Response:
        if name not in _KINDS:
            return PlainTextResponse("not there\n", 404, headers=_HEADERS)
        return Response((files / name).read_bytes(), media_type=_KINDS[name], headers=_HEADERS)

    async def content(request: Request) -> Response:
        if not _knows(request, token):
            return _refusal()
        try:
            found = await state()
        except UserError as error:  # such as a folder that is moved while the page is open
            return PlainTextResponse(f"{error}\n", 503, headers=_HEADERS)
        if request.url.path == "/metrics":
            return PlainTextResponse(as_prometheus(found), headers=_HEADERS, media_type="text/plain; version=0.0.4")
        return JSONResponse(as_json(found), headers=_HEADERS)

    routes = [Route("/", page), Route("/static/{name}", static)]
    return Starlette(routes=[*routes, Route("/state.json", content), Route("/metrics", content)])


def serve(read: Callable[[], RunState], port: int, token_file: Path | None) -> None:
    """Serves on loopback until interrupted.

    Args:
        read: see `build_app`.
        port: to listen on.
        token_file: whose first line is the token; made where it is missing. One is made for this time alone if None.

    Raises:
        UserError: if the port is no port or in use, the file holds no token, or there is no such run.
    """
    import uvicorn

    check_port(port)
    read()  # whatever is wrong with the run is said here, not on the page
    token = secrets.token_urlsafe(32) if token_file is None else _token(token_file)
    shown = f"?token={token}" if token_file is None else f"?token=... (the one in {token_file})"
    print(f"http://{LOOPBACK}:{port}/{shown}\nCtrl-C ends it; the run goes on", flush=True)
    uvicorn.run(build_app(read, token), host=LOOPBACK, port=port, log_level="warning", access_log=False, ws="none")


def _token(path: Path) -> str:
    if not path.exists():
        write_text(path, f"{secrets.token_urlsafe(32)}\n", SECRET)
    try:
        token = path.read_text(encoding="utf-8").split("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"token_file: {path}: not readable ({error}); give a file of one line") from error
    if len(token) < 16:
        raise UserError(f"token_file: {path}: its first line has {len(token)} characters; give 16 or more, drawn anew")
    return token


def _knows(request: Request, token: str) -> bool:
    asked = _bearer(request.headers) or request.query_params.get("token", "")
    return hmac.compare_digest(asked.encode(), token.encode())


def _bearer(headers: Mapping[str, str]) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _refusal() -> Response:
    text = "say the token: the page's address with ?token=..., or Authorization: Bearer ...\n"
    return PlainTextResponse(text, 401, headers={**_HEADERS, "www-authenticate": "Bearer"})
