"""Starting the host: on loopback, with a token, its workers under it."""

import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import requests

from foundation.errors import UserError
from foundation.files import write_json
from foundation.polling import wait_until
from foundation.ports import LOOPBACK, check_port
from serve import manifest, openapi
from serve.asgi.pool import Limits
from serve.asgi.tokens import write_key_file
from serve.client import reach
from serve.openapi import predictions_path
from serve.schema import BundleSchema
from serve.server import KEY_FILE, STATE, Server, check_free, last_line, stop

_PROGRAM = "serve.asgi"
_LOG = "host.log"


def start(
    bundle: Path,
    schema: BundleSchema,
    output: Path,
    port: int,
    workers: int = 1,
    batch_size: int = 8,
    waiting: int = 256,
    waiting_mib: int = 256,
    receive_seconds: float = 30,
    response_seconds: float = 120,
    start_seconds: float = 120,
) -> Server:
    """Starts the host and waits until a worker has loaded the model.

    Args:
        bundle: of `serve.export`, verified.
        schema: of the bundle.
        output: folder for key file, log and state.
        port: of the endpoint on loopback.
        workers: processes that each hold the model.
        batch_size: most requests answered in one pass.
        waiting: most requests that wait; more are refused with 429.
        waiting_mib: most mebibytes of bodies that are held at a time.
        receive_seconds: after which a request that is not there whole is cut off.
        response_seconds: after which a request is given up.
        start_seconds: after which starting is given up.

    Raises:
        UserError: if the port is in use, a server runs in `output` already, or it does not come up.
    """
    check_free(output)
    check_port(port)
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    limits = Limits(workers, batch_size, waiting, waiting_mib << 20, response_seconds, start_seconds)
    write_key_file(output / KEY_FILE)
    write_json(output / openapi.FILE, openapi.describe(schema), sort_keys=False)
    settings = {
        "model": schema.name,
        "version": schema.version,
        "bundle": str(bundle.resolve()),
        "seal": manifest.seal(bundle),
        "openapi": str(output / openapi.FILE),
        "key_file": str(output / KEY_FILE),
        "port": port,
        "receive_seconds": receive_seconds,
        "limits": asdict(limits),
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
        address=f"http://{LOOPBACK}:{port}{predictions_path(schema.name)}",
        model=schema.name,
        version=schema.version,
        key_file=str(output / KEY_FILE),
        pid=process.pid,
        program=_PROGRAM,
        temporary=tempfile.mkdtemp(prefix="consilium-"),
        log=str(log),
    )
    write_json(output / STATE, asdict(server))
    try:
        _wait_until_ready(server, process, start_seconds)
    except BaseException:
        stop(output)
        raise
    return server


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    ready = server.address.replace(predictions_path(server.model), "/health/ready")

    def answers() -> bool:
        if process.poll() is not None:
            raise UserError(f"the host ended while starting: {last_line(Path(server.log))}; see {server.log}")
        try:
            return reach("GET", ready, timeout=5).ok
        except requests.RequestException:  # it does not listen yet
            return False

    if not wait_until(answers, every=0.05, seconds=seconds):
        raise UserError(f"no worker was ready within {seconds:g} s; see {server.log}")
