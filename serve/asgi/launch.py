"""Starting the host: on loopback, with a token, its workers under it."""

import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import httpx

from foundation.errors import UserError
from foundation.files import write_json
from foundation.ports import LOOPBACK
from serve import manifest, openapi
from serve.asgi.listening import Listening
from serve.asgi.pool import Limits
from serve.conversation import transport
from serve.fhir.declaration import load_declaration
from serve.hooks.discovery import discover
from serve.key_file import write_key_file
from serve.limits import check_above_zero, check_counts
from serve.openapi import predictions_path
from serve.schema import BundleSchema
from serve.server import KEY_FILE, Server, await_ready, claim

_PROGRAM = "serve.asgi"
_LOG = "host.log"


def start(
    bundle: Path,
    schema: BundleSchema,
    output: Path,
    port: int,
    workers: int = 1,
    batch_size: int = 32,
    waiting: int = 256,
    waiting_mib: int = 256,
    receive_seconds: float = 30,
    response_seconds: float = 120,
    start_seconds: float = 120,
    drain_seconds: float = 30,
    address: str = LOOPBACK,
    certificate: str | None = None,
    key: str | None = None,
    unencrypted: bool = False,
    callers: str | None = None,
    follows: Path | None = None,
    trusted_key: Path | None = None,
    feedback: str | None = None,
    shadow: bool = False,
) -> Server:
    """Starts the host and waits until a worker has loaded the model.

    Args:
        bundle: of `serve.export`, verified.
        schema: of the bundle.
        output: folder for key file, log and state.
        port: of the endpoint.
        workers: processes that each hold the model.
        batch_size: most requests answered in one pass, a quarter of that where they are large.
        waiting: most requests that wait; more are refused with 429.
        waiting_mib: most mebibytes of bodies that are held at a time.
        receive_seconds: after which a request that is not there whole is cut off.
        response_seconds: after which a request is given up.
        start_seconds: after which starting is given up.
        drain_seconds: that the last requests are given when it is stopped.
        address: see `Listening`.
        certificate: likewise.
        key: likewise.
        unencrypted: likewise.
        callers: a further key file, such as a secret that is mounted; see `Tokens`.
        follows: pointer of a registry, whose release in use is served whenever it changes; see `Follower`.
        trusted_key: that must have signed what is followed; see `verify_bundle`.
        feedback: folder in which answers are kept; see `Keeper`.
        shadow: likewise.

    Raises:
        UserError: if a limit is no number above 0, the port is in use, a server runs in `output` already, or it does
            not come up.
    """
    check_counts(waiting_mib=waiting_mib)
    check_above_zero(receive_seconds=receive_seconds, drain_seconds=drain_seconds)
    limits = Limits(workers, batch_size, waiting, waiting_mib << 20, response_seconds, start_seconds)
    certificate, key, callers = (_absolute(path) for path in (certificate, key, callers))
    listening = Listening(address, port, certificate, key, unencrypted)
    listening.check_free()
    if feedback is not None:
        from serve.feedback.keeper import Keeper

        Keeper(Path(feedback), shadow, schema.version)
    elif shadow:
        raise UserError("asgi.shadow: keeps answers and gives none; say asgi.feedback=FOLDER, too")
    output = claim(output)
    write_key_file(output / KEY_FILE)
    fhir = manifest.read_file(bundle, manifest.FHIR) is not None
    write_json(output / openapi.FILE, openapi.describe(schema, fhir), sort_keys=False)
    settings = {
        "model": schema.name,
        "version": schema.version,
        "bundle": str(bundle.resolve()),
        "seal": manifest.seal(bundle),
        "openapi": str(output / openapi.FILE),
        "hooks": discover(schema, load_declaration(bundle)),
        "key_file": str(output / KEY_FILE),
        "callers": callers,
        "listening": asdict(listening),
        "receive_seconds": receive_seconds,
        "drain_seconds": drain_seconds,
        "limits": asdict(limits),
        "follows": None if follows is None else str(follows.resolve()),
        "feedback": _absolute(feedback),
        "shadow": shadow,
        "trusted_key": None if trusted_key is None else str(trusted_key.resolve()),
    }
    write_json(output / "host.json", settings)
    log = output / _LOG
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM, str(output / "host.json")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(
        address=listening.origin + predictions_path(schema.name),
        model=schema.name,
        version=schema.version,
        key_file=str(output / KEY_FILE),
        pid=process.pid,
        program=_PROGRAM,
        temporary=tempfile.mkdtemp(prefix="consilium-"),
        log=str(log),
        certificate=certificate,
        drain_seconds=drain_seconds,
    )
    return await_ready(server, output, lambda: _ready(server), every=0.05, seconds=start_seconds)


def _absolute(path: str | None) -> str | None:
    """As any folder reaches it; links stay, for a mounted secret is renewed by pointing its link elsewhere."""
    return None if path is None else str(Path(path).absolute())


def _ready(server: Server) -> bool:
    """Whether a worker has loaded the model."""
    try:
        ready = server.address.replace(predictions_path(server.model), "/health/ready")
        return httpx.get(ready, **transport(5, server.trust())).is_success
    except httpx.HTTPError:  # it does not listen yet
        return False
