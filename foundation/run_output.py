"""The output folder of a command: a run resumes itself alone, and finished results are not overwritten unasked."""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.errors import AlreadyFinished, UserError
from foundation.files import read_json, write_json
from foundation.run_record import FILE, digest_of, is_main_process

IDENTITY = "identity.json"  # in the folder of checkpoints
# Settings that the weights do not depend on, or that a digest of `depends_on` tells better.
BESIDE_WEIGHTS = (
    "output",
    "resume",
    "overwrite",
    "progress",
    "loggers",
    "checkpoint_every",
    "keep_checkpoints",
    "profile",
    "speed_every",
    "monitor_every",
    "cohort",
    "pretrained",
    "embeddings",
    "data.folder",
    "data.split_file",
    "data.num_workers",
    "data.prefetch_factor",
    "data.pin_memory",
    "trainer.accelerator",  # where and in how many parts: checkpoints say themselves whether they fit
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.log_every_n_steps",
    "trainer.float32_matmul_precision",  # of GPUs alone, which sum in another order anyway
)
_DIGESTS = {
    "cohort": "what the cohort holds",
    "patients": "which patients train",
    "encoder": "the encoder that it starts from",
    "release": "the release that it goes on from",
}
_WHY = {"steps": ": the learning rate follows a schedule over all of them"}
_MOST_NAMED = 5
# What a training run leaves that a later one in its folder must not mix with.
_LEFT_BEHIND = (
    "checkpoints",
    "rounds",
    "csv",
    "tensorboard",
    "mlflow",
    "mlflow.db",
    "wandb",
    "profile.txt",
    "trace.json",
    "encoder",
    "embeddings",
    "head.safetensors",
    "reliability.safetensors",
    "subsets.safetensors",
    "sums.safetensors",
    "sums.json",
    "increment.safetensors",
    "information.safetensors",
    "information.json",
    "memory",
    "task.json",
    "split.json",
    "trained_on.json",
    "modalities.json",
    "outcomes.json",
)


def claim(
    output: Path,
    command: str,
    config: Mapping[str, Any],
    depends_on: Mapping[str, str] | None = None,
    beside: Sequence[str] = BESIDE_WEIGHTS,
    ends: bool = True,
    left: str = "checkpoints",
) -> None:
    """Lets a command write into its folder; nothing in it is touched yet.

    Args:
        output: the folder.
        command: as its run record names it.
        config: resolved and plain, with `overwrite`, and `resume` where a run can be.
        depends_on: of a run that trains, digests of what its weights depend on beside the config.
        beside: settings, by dotted key, that the weights do not depend on.
        ends: whether a record that says finished means that nothing is left; False where the caller knows better.
        left: folder in it of what a kill leaves, and a resumed run goes on with.

    Raises:
        UserError: if finished results lie there, another process writes there, or another run than this would go on.
        AlreadyFinished: if the run that is to go on has come to its end.
    """
    path = output / FILE
    record = read_json(path, "move it away") if path.is_file() else None
    resume = bool(config.get("resume"))
    if record is None:
        if resume and (output / left).is_dir():
            raise UserError(f"{output}: {left} without {FILE}, so nobody knows whose; drop resume=true")
        return
    finished = record.get("status") == "finished"
    if is_main_process():
        _refuse_if_alive(output, record)
    if resume:
        _refuse_another(output, record, command, config, depends_on or {}, beside)
        if finished and ends:
            raise AlreadyFinished(f"{output}: finished already, nothing is left to do")
    elif finished and not config.get("overwrite"):
        raise UserError(
            f"{output}: holds the finished results of {record.get('command')}; overwrite=true replaces them, or choose "
            "another output="
        )


def clear(output: Path) -> None:
    """Removes what training left in a run's folder: its curves and checkpoints must not mix with those of another."""
    for name in _LEFT_BEHIND:
        path = output / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def begin(output: Path, config: Mapping[str, Any], depends_on: Mapping[str, str]) -> None:
    """Clears a claimed folder of an earlier run, unless this one goes on with it; and says whose its checkpoints are.

    Called when nothing stands in the way of writing any more: what lies there may be finished results.
    """
    if not is_main_process():
        return
    if (output / FILE).is_file() and not config.get("resume"):
        clear(output)
    write_json(output / "checkpoints" / IDENTITY, {"digest": identity(config, depends_on)})


def identity(config: Mapping[str, Any], depends_on: Mapping[str, str]) -> str:
    """Digest of all that a run's weights depend on: settings, data, and what it starts from."""
    return digest_of([_settings(config, BESIDE_WEIGHTS), dict(depends_on)])


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and content of the files in a folder."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder)} {content}\n".encode())
    return total.hexdigest()


def _refuse_another(
    output: Path,
    record: Mapping[str, Any],
    command: str,
    config: Mapping[str, Any],
    depends_on: Mapping[str, str],
    beside: Sequence[str],
) -> None:
    """Refuses to go on from another run, and names the settings that differ."""
    if record.get("command") != command:
        raise UserError(f"{output}: resume=true, but {record.get('command')} ran there; choose another output=")
    if "depends_on" not in record:
        raise UserError(f"{output / FILE}: does not say what its weights depend on; drop resume=true to start anew")
    before, now = _settings(record["config"], beside), _settings(config, beside)
    different = [
        f"{key} ({_short(before.get(key))}, now {_short(now.get(key))}{_WHY.get(key, '')})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if not different:
        earlier = record["depends_on"]
        different = [_DIGESTS.get(key, key) for key in depends_on if depends_on[key] != earlier.get(key)]
    if different:
        more = f" and {len(different) - _MOST_NAMED} more" if len(different) > _MOST_NAMED else ""
        named = ", ".join(different[:_MOST_NAMED])
        raise UserError(
            f"{output}: resume=true goes on with the run that lies there alone, and this one differs in {named}{more}; "
            "give what it ran with, or another output="
        )
    path = output / "checkpoints" / IDENTITY
    if path.is_file() and read_json(path, "drop resume=true").get("digest") != identity(record["config"], depends_on):
        raise UserError(f"{path.parent}: checkpoints of another run than {FILE} tells of; drop resume=true")


def _settings(config: Mapping[str, Any], beside: Sequence[str]) -> dict[str, Any]:
    """By dotted key, the settings that weights depend on, as JSON has them."""
    flat: dict[str, Any] = {}

    def add(node: Mapping[str, Any], path: str) -> None:
        for key, value in node.items():
            here = f"{path}{key}"
            if here in beside:
                continue
            if isinstance(value, Mapping) and value:
                add(value, f"{here}.")
            else:
                flat[here] = value

    add(json.loads(json.dumps(dict(config), default=str)), "")
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value) if value is not None else "null"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _refuse_if_alive(output: Path, record: Mapping[str, Any]) -> None:
    """Refuses a folder that a living process of this machine writes into."""
    writer = record.get("process") or {}
    if record.get("status") == "running" and writer.get("pid") != os.getpid() and writer_lives(record):
        raise UserError(f"{output}: process {writer['pid']} is at work there; wait for it, or choose another output=")


def writer_lives(record: Mapping[str, Any]) -> bool | None:
    """Whether the process that wrote a run's record is still there; None where it is another machine's to tell."""
    import psutil  # here, for whoever reads records alone needs none

    writer = record.get("process") or {}
    if writer.get("host") != socket.gethostname():
        return None
    try:
        return bool(psutil.Process(writer["pid"]).create_time() == writer["created"])
    except psutil.Error:
        return False
