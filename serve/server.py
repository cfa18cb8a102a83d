"""A started server, of whatever host: what its folder tells of it, and stopping it."""

import json
import re
import shutil
import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import psutil
from pydantic import ConfigDict, TypeAdapter, ValidationError

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.polling import wait_until
from serve.conversation import pinned
from serve.key_file import read_token, remove_server_tokens

STATE = "server.json"
KEY_FILE = "key_file.json"
_START = "start one with python -m serve"
_TEMPORARY = re.compile(r"consilium-\w+")  # as `tempfile.mkdtemp` names it
_ADDRESS = re.compile(r"https?://[^/@?#\s]+/predictions/[A-Za-z0-9_.-]+")
_LONGER = 5.0  # seconds for a server to end by itself once its last request is answered


@dataclass
class Server:
    """A started server, as `server.json` in its folder tells of it.

    Attributes:
        address: of the endpoint's predictions.
        model: name of the model.
        version: of the model.
        key_file: where the token lies; readable by the user alone.
        pid: of the process that listens.
        program: a word of that process's command line, by which it is told from another of the same number.
        temporary: folder of what lives as long as the process.
        log: what it printed.
        certificate: PEM file by which clients of this machine know it; None without TLS.
        drain_seconds: that its last requests are given when it is stopped.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    address: str
    model: str
    version: str
    key_file: str
    pid: int
    program: str
    temporary: str
    log: str
    certificate: str | None = None
    drain_seconds: float = 30.0

    @classmethod
    def load(cls, folder: Path) -> "Server":
        """The server of a folder, running or not.

        What it names is removed when the server is stopped, and is sent the token: so it names nothing but what a
        server makes.

        Raises:
            UserError: if none was started there, or the file is not as a server wrote it.
        """
        path = folder / STATE
        if not path.is_file():
            raise UserError(f"{folder}: no {STATE}, so no server runs from there; start one with python -m serve")
        try:
            server = TypeAdapter(cls).validate_json(json.dumps(read_json(path, _START)), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise UserError(f"{path}: {field}: {first['msg']}, found {str(first['input'])[:200]}; {_START}") from error
        here = folder.resolve()
        for field in ("key_file", "log"):
            value = Path(getattr(server, field))
            if value.resolve().parent != here:
                raise UserError(f"{path}: {field}: found {str(value)[:200]!r}, which is not in this folder; {_START}")
        if not _TEMPORARY.fullmatch(Path(server.temporary).name):
            raise UserError(f"{path}: temporary: found {server.temporary[:200]!r}, which no server made; {_START}")
        if not _ADDRESS.fullmatch(server.address) or not server.address.endswith(f"/{server.model}"):
            raise UserError(f"{path}: address: found {server.address[:200]!r}, which is no model's; {_START}")
        return server

    def trust(self) -> ssl.SSLContext | None:
        """What a client of this machine checks it by: its certificate, and no other; None without TLS.

        Raises:
            UserError: if that cannot be read.
        """
        return None if self.certificate is None else pinned(Path(self.certificate))

    def token(self) -> str:
        """The token that a prediction must carry."""
        return read_token(Path(self.key_file))

    def process(self) -> psutil.Process | None:
        """The process that listens, or None if it has gone (its number may belong to another by now)."""
        try:
            process = psutil.Process(self.pid)
            line = process.cmdline()  # for a moment empty, while a process that was just made becomes its program
            gone = process.status() == psutil.STATUS_ZOMBIE or (bool(line) and self.program not in line)
        except psutil.Error:
            return None
        return None if gone else process


def claim(folder: Path) -> Path:
    """The folder of a server that is to start, made and absolute.

    Raises:
        UserError: if a server runs from there.
    """
    if (folder / STATE).is_file() and Server.load(folder).process():
        raise UserError(f"{folder}: a server runs from there already; stop it with python -m serve action=stop")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def await_ready(server: Server, folder: Path, ready: Callable[[], bool], every: float, seconds: float) -> Server:
    """Writes what a started server is, and waits until it answers; one that does not is stopped.

    Args:
        server: whose process runs.
        folder: of `claim`.
        ready: whether a worker has loaded the model and answers.
        every: seconds between two looks.
        seconds: after which starting is given up.

    Raises:
        UserError: if it ends instead, or takes longer.
    """

    def answers() -> bool:
        if server.process() is None:
            raise UserError(f"the server ended while starting: {last_line(Path(server.log))}; see {server.log}")
        return ready()

    write_json(folder / STATE, asdict(server))
    try:
        if not wait_until(answers, every=every, seconds=seconds):
            raise UserError(f"no worker was ready within {seconds:g} s: the model did not load; see {server.log}")
    except BaseException:
        stop(folder)
        raise
    return server


def stop(folder: Path) -> bool:
    """Stops the server of a folder with its workers and removes its token; says whether it was running."""
    server = Server.load(folder)
    process = server.process()
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs([p for p in family if p.is_running()], timeout=server.drain_seconds + _LONGER)
        for left in alive:
            if left.is_running() and left.status() != psutil.STATUS_ZOMBIE:
                left.kill()
    shutil.rmtree(server.temporary, ignore_errors=True)
    remove_server_tokens(Path(server.key_file))
    (folder / STATE).unlink(missing_ok=True)
    return process is not None


def last_line(log: Path) -> str:
    """The end of what a server printed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
