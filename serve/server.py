"""A started server, of whatever host: what its folder tells of it, and stopping it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from foundation.errors import UserError
from foundation.files import read_json

STATE = "server.json"
KEY_FILE = "key_file.json"
_STOP_SECONDS = 30.0


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
    """

    address: str
    model: str
    version: str
    key_file: str
    pid: int
    program: str
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
        """The process that listens, or None if it has gone (its number may belong to another by now)."""
        try:
            process = psutil.Process(self.pid)
            gone = process.status() == psutil.STATUS_ZOMBIE or self.program not in process.cmdline()
        except psutil.Error:
            return None
        return None if gone else process


def check_free(folder: Path) -> None:
    """Refuses a folder from which a server runs.

    Raises:
        UserError: naming it.
    """
    if (folder / STATE).is_file() and Server.load(folder).process():
        raise UserError(f"{folder}: a server runs from there already; stop it with python -m serve action=stop")


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


def last_line(log: Path) -> str:
    """The end of what a server printed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
