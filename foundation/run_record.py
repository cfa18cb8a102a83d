"""The run record: what ran, on which data, with which code, from which earlier runs, and what came out."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from foundation.documents import validated
from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.release import installed_release

FILE = "run.json"
EARLIER = "earlier_records"  # of a cohort that has grown since, by their digests
_ADVICE = "run that step again"
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # as torchrun, Lightning's launcher and Slurm set them
_PACKAGES = (
    "consilium",
    "torch",
    "pytorch-lightning",
    "transformers",
    "timm",
    "deepspeed",
    "flwr",
    "torchserve",
    "hydra-core",
)


class Link(BaseModel):
    """A run that another builds on: its folder from that of the other, and the digest of its record."""

    path: str
    digest: str


class RunFile(BaseModel):
    """Parts of a record by which later steps find others, each as it is where it is there."""

    builds_on: list[Link] = []
    config: dict[str, Any] = {}
    data: dict[str, Any] = {}
    notes: dict[str, Any] = {}


@dataclass
class RunRecord:
    """A run's record while it is being written; see `open`."""

    output: Path
    content: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(
        cls,
        output: Path,
        command: str,
        config: dict[str, Any],
        seed: int,
        builds_on: Sequence[Path] = (),
        data: dict[str, Any] | None = None,
        depends_on: Mapping[str, str] | None = None,
    ) -> Iterator["RunRecord"]:
        """Writes `output/run.json` at once as running, and again as finished or failed on leaving.

        Args:
            output: the run's folder; made if missing.
            command: what the user typed, without overrides.
            config: the resolved config, plain.
            seed: the seed of the run.
            builds_on: folders of the runs whose results this one takes.
            data: name, digest, synthetic and hospitals of the cohort.
            depends_on: of a run that trains, digests of what its weights depend on beside the config.

        Raises:
            UserError: if the folder cannot be made, as where a file is in its place.
        """
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"output: {output}: no folder ({error.strerror}); choose another one") from error
        started = time.time()
        record = cls(output, _first_content(output, command, config, seed, builds_on, data))
        if depends_on is not None:
            record.content["depends_on"] = dict(depends_on)
        record._write(status="running", seconds=0.0)
        try:
            yield record
        except BaseException:
            record._write(status="failed", seconds=time.time() - started)
            raise
        record._write(status="finished", seconds=time.time() - started)

    def note(self, key: str, value: Any) -> None:
        """Keeps a fact that is no metric (a table, a file, a count)."""
        self.content["notes"][key] = value

    def _write(self, status: str, seconds: float) -> None:
        if not is_main_process():
            return
        self.content.update(status=status, seconds=round(seconds, 3), metrics=self.metrics)
        write_json(self.output / FILE, self.content)


def is_main_process() -> bool:
    """Whether this is the first process of a multi-process run: the one that writes and prints."""
    return all(int(os.environ.get(name, 0)) == 0 for name in _RANKS)


def is_finished(folder: Path) -> bool:
    """Whether a run came to its end in a folder."""
    return (folder / FILE).is_file() and read_run(folder).get("status") == "finished"


def read_run(folder: Path) -> dict[str, Any]:
    """The record in a run's folder.

    Raises:
        UserError: if the folder holds no readable record.
    """
    if not (folder / FILE).is_file():
        raise UserError(f"{folder}: no {FILE} found; give the output folder of an earlier command")
    return _read(folder / FILE)


def _read(file: Path) -> dict[str, Any]:
    content = read_json(file, _ADVICE)
    validated(RunFile, content, file, _ADVICE)
    return content


class Record(NamedTuple):
    """A run among those that another builds on.

    Attributes:
        folder: of the run.
        content: its record, as it was built on.
        file: where that is kept.
    """

    folder: Path
    content: dict[str, Any]
    file: Path


def walk(folder: Path) -> list[Record]:
    """This run and all that it builds on, nearest first, each once.

    Raises:
        UserError: if a linked run is gone or has changed since it was built on.
    """
    records: dict[Path, Record] = {}
    queue = [(folder.resolve(), folder.resolve() / FILE)]
    while queue:
        here, file = queue.pop(0)
        if file in records:
            continue
        content = read_run(here) if file == here / FILE else _read(file)
        records[file] = Record(here, content, file)
        if "builds_on" not in content:  # nobody's ancestors are left out in silence
            raise UserError(f"{file}: holds no 'builds_on'; {_ADVICE}")
        for link in content["builds_on"]:
            parent = (here / link["path"]).resolve()
            queue.append((parent, _linked(parent, link["digest"], here)))
    return list(records.values())


def keep_records(folder: Path, replacement: Path) -> None:
    """Copies a cohort's record, and those of what it was before, to what replaces it: runs go on building on them."""
    kept = replacement / EARLIER
    if (folder / EARLIER).is_dir():
        shutil.copytree(folder / EARLIER, kept)
    if (folder / FILE).is_file():
        kept.mkdir(exist_ok=True)
        shutil.copy2(folder / FILE, kept / f"{_file_digest(folder / FILE)}.json")


def _linked(parent: Path, digest: str, child: Path) -> Path:
    """Where the record is that a run was built on."""
    if _file_digest(parent / FILE) == digest:
        return parent / FILE
    earlier = parent / EARLIER / f"{digest}.json"
    if not earlier.is_file() or _file_digest(earlier) != digest:
        raise UserError(f"{parent / FILE}: changed since {child} was built on it; run that step again")
    return earlier


def digest_of(content: Any) -> str:
    """SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: missing, though a later run builds on it; restore the folder or run that step again")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _first_content(
    output: Path,
    command: str,
    config: dict[str, Any],
    seed: int,
    builds_on: Sequence[Path],
    data: dict[str, Any] | None,
) -> dict[str, Any]:
    links = [
        {"path": os.path.relpath(parent.resolve(), output.resolve()), "digest": _file_digest(parent / FILE)}
        for parent in builds_on
    ]
    return {
        "command": command,
        "config": config,
        "config_digest": digest_of(config),
        "code": _code(),
        "data": data or {},
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "seed": seed,
        "hardware": _hardware(),
        "process": _process(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "builds_on": links,
        "notes": {},
    }


def _hardware() -> dict[str, Any]:
    import psutil  # here, for whoever reads records or writes files alone needs it not

    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
        "python": platform.python_version(),
    }


def _gpus(driver: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Names of those that PyTorch sees; of a process that has not loaded it, those that NVIDIA's driver lists.

    Loading it takes longer than many a command that prepares data.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    texts = [path.read_text(errors="replace") for path in sorted(driver.glob("*/information"))]
    lines = [line.partition(":") for text in texts for line in text.splitlines()]
    return [value.strip() for key, _, value in lines if key.strip() == "Model"]


def _process() -> dict[str, Any]:
    """Who writes the record, for whoever comes to the same folder meanwhile."""
    import psutil

    return {"host": socket.gethostname(), "pid": os.getpid(), "created": psutil.Process().create_time()}


def _code() -> dict[str, Any]:
    version = installed_release()
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {"version": version, "commit": None, "dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    return {"version": version, "commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
