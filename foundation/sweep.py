"""Sweeps (`-m`): a folder a job under the command's output, and one table of all jobs.

Hydra calls `Jobs` before and after a sweep, in the process where it was typed; jobs may run elsewhere (Slurm), so what
the table needs of each lies in its folder.
"""

import csv
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from foundation.files import read_json, replacing, write_json
from foundation.run_record import FILE, is_main_process, read_run

if TYPE_CHECKING:
    from rich.table import Table

JOB, TABLE = "job.json", "sweep.csv"
_MOST_SHOWN = 6  # metrics in the terminal
_LAST_SHOWN = ("speed/", "monitor/", "train/")


class Jobs(Callback):
    """Gives each job of a sweep a numbered folder under `output`, and tabulates them at the end."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Adds the job's folder to its overrides, whatever launches it."""
        if not _sweeps(config):
            return
        if any(text.lstrip("+").startswith("output=") and _is_sweep(text) for text in config.hydra.overrides.task):
            _leave("output: each job of a sweep gets a folder of its own under it; give one output")
        try:
            output = OmegaConf.select(config, "output")
        except OmegaConfBaseException:
            _leave("output: follows from what the sweep changes; give output=, in which each job gets a folder")
        if output is None:
            return
        folder = Path(output)
        if (folder / TABLE).is_file() and not config.get("overwrite") and not config.get("resume"):
            _leave(f"{folder}: holds a sweep; overwrite=true replaces its jobs, or choose another output=")
        for path in folder.glob(f"*/{JOB}"):  # of an earlier sweep, which may have had more of them
            path.unlink()
        quoted = str(output).replace("\\", "\\\\").replace("'", "\\'")
        with open_dict(config):
            config.hydra.overrides.task.append(f"output='{quoted}/${{hydra:job.num}}'")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Writes the table and prints it; code 2 where a job failed."""
        output = OmegaConf.select(config, "output") if _sweeps(config) else None
        if output is None:
            return
        from rich.console import Console  # here and below, for every command's help loads this module

        jobs = read_jobs(Path(output))
        write_table(jobs, Path(output) / TABLE)
        Console().print(shown_table(jobs))
        print(f"table: {Path(output) / TABLE}", flush=True)
        failed = [str(job["job"]) for job in jobs if job["status"] != "finished"]
        if failed:
            _leave(f"{output}: {len(failed)} of {len(jobs)} jobs failed: {', '.join(failed)}")


@dataclass(frozen=True)
class Values:
    """What a sweep gives a setting.

    Attributes:
        key: of the setting, dotted.
        choices: as they are typed; empty of a range.
        low, high: of a range, both inclusive.
        step: of a range of steps; None between two bounds.
        log: whether the range is to be seen on a logarithmic scale.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False


def values_of(text: str) -> Values:
    """What a sweep in Hydra's words gives: an interval, a range without its end, or choices.

    Raises:
        ValueError: if it is none.
    """
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ValueError(f"'{text}' is not readable") from error
    key, value = override.get_key_element(), override.value()
    if isinstance(value, ChoiceSweep):
        return Values(key, tuple(str(choice) for choice in override.sweep_string_iterator()))
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None and value.step:
        count = math.ceil((value.stop - value.start) / value.step - 1e-9)
        values = Values(key, (), value.start, value.start + (count - 1) * value.step, value.step)
    elif isinstance(value, IntervalSweep) and value.start is not None and value.end is not None:
        values = Values(key, (), value.start, value.end, None, "log" in value.tags)
    else:
        raise ValueError(f"'{text}' is no range and no choice")
    if not values.low < values.high or (values.log and values.low <= 0):
        raise ValueError(f"'{text}' is no range from low to high, above 0 for log")
    return values


def typed() -> list[str]:
    """The settings of the running command as they were typed."""
    return list(HydraConfig.get().overrides.task)


def begin_job(cfg: DictConfig) -> None:
    """Writes into a job's folder which one it is; nothing outside of a sweep."""
    if _in_sweep() and cfg.get("output") is not None and is_main_process():
        _write_job(Path(cfg.output), None)


def keep_error(cfg: DictConfig, line: str) -> bool:
    """Keeps the error that ended a job, so that the others go on; False outside of a sweep."""
    if not _in_sweep() or cfg.get("output") is None:
        return False
    if is_main_process():
        print(f"error: job {HydraConfig.get().job.num}: {line}", file=sys.stderr, flush=True)
        _write_job(Path(cfg.output), line)
    return True


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """A row a job: its number, status, the overrides that set it apart, seconds, error, and metrics by name."""
    facts = [(path.parent, read_json(path, "run the sweep again")) for path in folder.glob(f"*/{JOB}")]
    facts.sort(key=lambda pair: pair[1]["job"])
    settings = [dict(_key_and_value(text) for text in job["overrides"]) for _, job in facts]
    apart = [key for key in dict.fromkeys(key for each in settings for key in each) if _differs(key, settings)]
    rows = []
    for (place, job), given in zip(facts, settings, strict=True):
        record = read_run(place) if job["error"] is None and (place / FILE).is_file() else {}
        status = "failed" if job["error"] else record.get("status", "not run")
        rows.append(
            {
                "job": job["job"],
                "status": status,
                "overrides": {key: given.get(key, "") for key in apart},
                "seconds": record.get("seconds"),
                "error": job["error"] or "",
                "metrics": dict(_scalars(record.get("metrics", {}), "")),
            }
        )
    return rows


def write_table(jobs: list[dict[str, Any]], path: Path) -> None:
    """All jobs with all metrics as CSV."""
    overrides = list(jobs[0]["overrides"]) if jobs else []
    metrics = list(dict.fromkeys(name for job in jobs for name in job["metrics"]))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["job", *overrides, "status", "seconds", *metrics, "error"])
        for job in jobs:
            values = [job["metrics"].get(name, "") for name in metrics]
            row = [job["job"], *job["overrides"].values(), job["status"], job["seconds"], *values, job["error"]]
            writer.writerow(row)


def shown_table(jobs: list[dict[str, Any]]) -> "Table":
    """The same for a terminal: what sets jobs apart, and the first metrics."""
    from rich.table import Column, Table

    overrides = list(jobs[0]["overrides"]) if jobs else []
    names = dict.fromkeys(name for job in jobs for name in job["metrics"])
    metrics = sorted(names, key=lambda name: name.startswith(_LAST_SHOWN))[:_MOST_SHOWN]
    table = Table(*(Column(name, overflow="fold") for name in ("job", *overrides, "status", *metrics)), title="Jobs")
    for job in jobs:
        values = [f"{job['metrics'][name]:.4g}" if name in job["metrics"] else "" for name in metrics]
        table.add_row(str(job["job"]), *job["overrides"].values(), job["status"], *values)
    return table


def _sweeps(config: DictConfig) -> bool:
    """Whether there is more than one job to tell apart: Hydra's launchers are used with `-m` for a single one, too."""
    parameters = OmegaConf.select(config, "hydra.sweeper.params")
    return bool(parameters) or any(_is_sweep(text) for text in config.hydra.overrides.task)


def _is_sweep(override: str) -> bool:
    return bool(OverridesParser.create().parse_override(override).is_sweep_override())


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _write_job(folder: Path, error: str | None) -> None:
    job = HydraConfig.get()
    overrides = [text for text in job.overrides.task if not text.lstrip("+").startswith("output=")]
    write_json(folder / JOB, {"job": job.job.num, "overrides": overrides, "error": error})


def _key_and_value(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _differs(key: str, settings: list[dict[str, str]]) -> bool:
    return len({each.get(key) for each in settings}) > 1


def _scalars(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, float]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{path}{key}/")
        elif isinstance(value, int | float):
            yield f"{path}{key}", value


def _leave(message: str) -> NoReturn:
    # Hydra makes a warning of any other error in a callback.
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)
