"""Commands in processes of their own, forked from this one, which has imported once what each would import anew."""

import importlib
import os
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_LARGE = ("torch", "timm", "transformers", "pytorch_lightning", "flwr.serverapp", "datasets", "sklearn.linear_model")
_OURS = ("pretrain.federated.task", "pretrain.fit", "finetune.evaluation", "finetune.fit", "serve.bundle")


class Processes:
    """Starts commands as `python -m` does, and keeps what they say.

    Args:
        folder: for a log of each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        import foundation.torchvision_cpu  # noqa: F401 - before anything that may reach torchvision

        for name in (*_LARGE, *_OURS):
            importlib.import_module(name)

    def run(self, command: str, *settings: str, codes: Sequence[int] = (0,)) -> tuple[int, str]:
        """Runs one to its end; its code and what it printed. Another code than those expected ends the benchmark."""
        return self.wait(self.start(command, *settings), codes)

    def start(self, command: str, *settings: str) -> tuple[int, str, Path, float]:
        """Starts one, to be waited for."""
        self._count += 1
        log = self.folder / f"{self._count:03d}-{command.replace(' ', '-')}.log"
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _become(command, settings, log)
        return pid, command, log, time.monotonic()

    def wait(self, started: tuple[int, str, Path, float], codes: Sequence[int] = (0,)) -> tuple[int, str]:
        """Waits for one."""
        pid, command, log, begun = started
        _, status = os.waitpid(pid, 0)
        self.seconds[command] = self.seconds.get(command, 0.0) + time.monotonic() - begun
        code, text = os.waitstatus_to_exitcode(status), log.read_text()
        if code not in codes:
            sys.exit(f"{command}: exit {code}, see {log}\n{text[-3000:]}")
        return code, text


def _become(command: str, settings: Sequence[str], log: Path) -> None:
    """This process as the command: its arguments, its output, its end."""
    module, *action = command.split()
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = [f"python -m {module}", *action, *settings]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
