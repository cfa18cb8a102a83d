"""`python -m foundation.federation.schedule`: one look whether a federation's recurring run is due, and the run if so.

A timer (cron, systemd) gives the command as often as it likes. Each run goes on from the weights of the one before;
whether enough hospitals have enough that is new, hospitals say themselves, and their bounds are theirs to hold.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from omegaconf import DictConfig

# Read by Flower when it is first imported, so it is said before.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from foundation.command import command, plain, run_another
from foundation.errors import UserError
from foundation.locks import alone

LEDGER, LOCK = "schedule.jsonl", "schedule.lock"
_LONGEST = 3650.0  # days between two runs
_STAGES = ("pretrain", "finetune")
_ENDED, _WAITED = "finished", "not due"


@command("schedule", loads="torch, flwr")
def main(cfg: DictConfig) -> None:
    """Runs the federation's task once more where it is due, from the weights of the run before."""
    if cfg.stage not in _STAGES:
        raise UserError(f"stage: found {cfg.stage!r}; choose from {', '.join(_STAGES)}")
    if not isinstance(cfg.every_days, int | float) or not 0 <= cfg.every_days <= _LONGEST:
        raise UserError(f"every_days: found {cfg.every_days}; give 0 to {_LONGEST:g}")
    folder = Path(cfg.output)
    with alone(folder / LOCK) as mine:  # a timer may come before a run has ended, and would go on with it as well
        if mine:
            _look(cfg, folder)
        else:
            print("not due: a run that another look began is going on")


def _look(cfg: DictConfig, folder: Path) -> None:
    from foundation.federation.ledger import Ledger
    from foundation.federation.ledger.entry import SERVER

    ledger = Ledger.open(folder / LEDGER, SERVER, "server")
    runs = [(one.run, one.time) for one in ledger.entries() if one.kind == "note" and one.note == _ENDED]
    if runs:
        next_one = datetime.fromisoformat(runs[-1][1]) + timedelta(days=cfg.every_days)
        if next_one > datetime.now(UTC):
            print(f"not due: the next run is on {next_one:%Y-%m-%d at %H:%M} UTC (every_days={cfg.every_days:g})")
            return
    name = _next_name(folder, {run for run, _ in runs})
    before = None if not runs else folder / runs[-1][0]
    _run(cfg, folder / name, before)
    ended = _is_finished(folder / name)
    ledger.append("note", run=name, note=_ENDED if ended else _WAITED)
    if ended:
        print(f"run: {folder / name}")


def _next_name(folder: Path, ended: set[str]) -> str:
    """Of the run to begin, or of one that was cut short, which goes on; one that was not due keeps what it asked."""
    names = sorted(path.name for path in folder.glob("[0-9]*") if path.is_dir())
    if names and names[-1] not in ended and (folder / names[-1] / "history.json").is_file():
        return names[-1]
    return f"{len(names) + 1:04d}"


def _run(cfg: DictConfig, output: Path, before: Path | None) -> None:
    """The task's own command, as if it had been typed; its exit is this command's where it failed."""
    standing = ",".join(f"{key}:{_typed(value)}" for key, value in plain(cfg)["standing"].items() if value is not None)
    resumed = (output / "history.json").is_file()
    settings = [*(str(one) for one in cfg.settings), f"standing={{{standing}}}", f"output={output}"]
    settings += [] if before is None else [f"continues={before}"]
    settings += ["resume=true"] if resumed else []
    run_another(f"{cfg.stage}.federated", settings)


def _typed(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _is_finished(run: Path) -> bool:
    from foundation.run_record import FILE, is_finished

    return (run / FILE).is_file() and is_finished(run)


if __name__ == "__main__":
    main()
