"""Commands in processes of their own that start at once: forked from one process that has the training stack imported.

A command that trains imports for seven seconds before it begins, and two processes import one after the other. What is
forked here has its own arguments, environment, folder, files of output, session and exit code, and can be killed, as if
the shell had started it. How commands import and are launched is tested with ordinary processes.
"""

import contextlib
import functools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LISTENING = b"!"
_SETTINGS = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}  # read on import


class Process:
    """A command that runs.

    Attributes:
        args: its module and arguments.
        pid: of its process, which leads a session of its own.
        returncode: None while it runs; minus the signal that ended it.
    """

    def __init__(self, module: str, arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> None:
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self._folder = tempfile.TemporaryDirectory()
        self._keeper = socket.socket(socket.AF_UNIX)
        self._keeper.connect(_parent())
        order = {"module": module, "arguments": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        self._file = self._keeper.makefile("rw")
        self._file.write(json.dumps(order | {"output": self._folder.name}) + "\n")
        self._file.flush()
        self.pid = int(self._file.readline())

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.001)
        return self.returncode

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: if it runs on after these seconds.
        """
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            try:
                self.returncode = int(self._keeper.recv(16))
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout) from None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it wrote to output and errors, once it has ended."""
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            raise
        self._file.close()
        self._keeper.close()
        written = [(Path(self._folder.name) / name).read_text() for name in ("stdout", "stderr")]
        self._folder.cleanup()
        return written[0], written[1]


def run(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
    processes: int = 1,
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments`, to its end; with several processes, as a launcher of one machine starts them.

    Returns:
        The exit code, output and errors of the first that failed, or of the first process.
    """
    env = {**os.environ, **_SETTINGS} if env is None else env
    ranks = [env] if processes == 1 else _ranks(env, processes)
    started = [Process(module, arguments, rank, cwd) for rank in ranks]
    until = time.monotonic() + timeout
    outputs = [process.communicate(max(until - time.monotonic(), 0.001)) for process in started]
    which = next((index for index, process in enumerate(started) if process.returncode), 0)
    return subprocess.CompletedProcess(started[which].args, started[which].returncode or 0, *outputs[which])


def _ranks(env: Mapping[str, str], processes: int) -> list[dict[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**env, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    shared["WORLD_SIZE"] = str(processes)
    return [shared | {"LOCAL_RANK": str(rank)} for rank in range(processes)]


@functools.cache
def _parent() -> str:
    """The socket of this test run's parent of commands, which ends with it."""
    address = str(Path(tempfile.mkdtemp()) / "warm")
    command = [sys.executable, __file__, address]
    environment = {**os.environ, **_SETTINGS}
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=root)
    assert process.stdout is not None
    assert process.stdout.read(1) == _LISTENING
    return address


def _serve(address: str) -> None:
    """Forks a keeper for each order; ends when who started it has ended."""
    sys.path[0] = ""  # as `python -m` has it
    import deepspeed  # noqa: F401

    import pretrain.assemble
    import pretrain.federated
    import pretrain.fit  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    os.write(sys.stdout.fileno(), _LISTENING)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:  # ends the listener when the test run is gone
        sys.stdin.buffer.read()
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(0)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> None:
    """Starts the ordered command, and tells its process and then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection, connection.makefile("r") as file:
        order = json.loads(file.readline())
        pid = os.fork()
        if pid == 0:
            _become(order)
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(order: dict) -> None:
    """Runs the command as `python -m` would, in this process."""
    os.setsid()
    folder = Path(order["output"])
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv = [order["module"], *order["arguments"]]
    code = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        sys.excepthook(*sys.exc_info())
        code = 1
    # What a process does at its end, but for the parts of this one that belong to its parent.
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
