"""How a run stands, read from what its server writes: history, ledger, and how the deployment began and ended.

Nothing is asked of a site or of the server's process, so that a status costs a run nothing, and is there when that
process is not.
"""

import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from foundation.documents import read_yaml
from foundation.errors import UserError
from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.files import load
from foundation.files import read_json
from foundation.run_output import writer_lives
from foundation.run_record import FILE, read_run

Phase = Literal["running", "finished", "failed", "killed", "not begun"]
_ORDERS = ("order", "evaluation", "statistics")
_BAD = ("decline", "refusal")


@dataclass(frozen=True)
class SiteState:
    """A site in the run.

    Attributes:
        name: of it.
        node: `online` or `offline`; empty where no SuperLink was asked.
        doing: what it was asked for last, and what became of that.
        answered: updates, evaluations and statistics that came from it.
        last_error: the last line of a refusal or an absence, also of one that answered since; empty if there was none.
    """

    name: str
    node: str
    doing: str
    answered: int
    last_error: str


@dataclass(frozen=True)
class RunState:
    """A run.

    Attributes:
        folder: of it.
        phase: where it stands.
        round: finished.
        rounds: planned.
        seconds: that a finished round took on average; None before the first.
        deadline: until when the latest order's answers count, also when all have come; None where the run does not go
            on, or waits for as long as it takes.
        sites: of the run.
        cause: why it failed; empty otherwise.
        advice: the next command.
    """

    folder: Path
    phase: Phase
    round: int
    rounds: int
    seconds: float | None
    deadline: datetime | None
    sites: tuple[SiteState, ...]
    cause: str
    advice: str


def read_state(folder: Path, nodes: Mapping[str, str] | None = None) -> RunState:
    """How a run stands.

    Args:
        folder: output of the run.
        nodes: by site, whether it is online; None where no SuperLink was asked.

    Raises:
        UserError: if the folder is no federated run's.
    """
    config = _config(folder)
    rounds = _history(folder)
    ledger = folder / "ledger.jsonl"
    entries = load(ledger).entries if ledger.is_file() else []
    ended = _deployment(folder)
    sites = [str(name) for name in config.get("sites") or []]
    phase, cause, advice = _phase(folder, len(rounds), int(config.get("rounds") or 0), ended)
    totals = [float(one["seconds"]["total"]) for one in rounds if "total" in one.get("seconds", {})]
    latest = rounds[-1].get("absent", {}) if rounds else {}
    return RunState(
        folder,
        phase,
        len(rounds),
        int(config.get("rounds") or 0),
        sum(totals) / len(totals) if totals else None,
        _deadline(entries, config.get("deadline")) if phase == "running" else None,
        tuple(
            _site(name, entries, (nodes or {}).get(name, ""), str(latest.get(name, "")), len(rounds)) for name in sites
        ),
        cause,
        advice,
    )


def _config(folder: Path) -> dict[str, Any]:
    for path in (folder / "deployment" / "config.yaml", folder / "sites" / "config.yaml"):
        if path.is_file():
            content = read_yaml(path, "give the output folder of a federated run")
            return dict(content)
    raise UserError(f"run: {folder} holds no federated run; give its output folder")


def _history(folder: Path) -> list[dict[str, Any]]:
    path = folder / "history.json"
    return list(read_json(path, "restore it from a copy", "rounds")["rounds"]) if path.is_file() else []


def _deployment(folder: Path) -> dict[str, Any] | None:
    path = folder / "deployment" / "run.json"
    return read_json(path, "restore it from a copy") if path.is_file() else None


def _phase(folder: Path, done: int, planned: int, ended: dict[str, Any] | None) -> tuple[Phase, str, str]:
    again = f"give the run's command again with output={folder} resume=true"
    if ended is not None and ended.get("failure"):
        return "failed", str(ended["failure"]), again
    if done >= planned and (ended is None or ended.get("ended")):
        return "finished", "", f"consilium federation report run={folder}"
    if ended is None:
        return _simulated(folder, done, again)
    if _is_free(folder / "deployment" / "server.lock"):
        return "killed", "the run's server process is gone, and said nothing", again
    return "running", "", f"consilium federation status run={folder}"


def _simulated(folder: Path, done: int, again: str) -> tuple[Phase, str, str]:
    """The phase of a run on one machine, by the record of the process that runs it."""
    record = read_run(folder) if (folder / FILE).is_file() else {}
    if record.get("status") == "failed":
        return "failed", "its process ended with an error, which it printed", again
    if record.get("status") == "running" and writer_lives(record) is False:
        return "killed", "the run's process is gone, and said nothing", again
    return "running" if done or record else "not begun", "", f"consilium federation status run={folder}"


def _is_free(path: Path) -> bool:
    """Whether no process holds the lock that a run's server process holds as long as it lives."""
    if not path.is_file():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _deadline(entries: Sequence[Entry], seconds: Any) -> datetime | None:
    sent = [entry for entry in entries if entry.direction == "out" and entry.kind in _ORDERS]
    if seconds is None or not sent:
        return None
    return datetime.fromisoformat(sent[-1].time).astimezone(UTC) + timedelta(seconds=float(seconds))


def _site(name: str, entries: Sequence[Entry], node: str, absent: str, done: int) -> SiteState:
    """A site's state; `absent` is why it had no part in the last of the rounds that are done."""
    of_site = [entry for entry in entries if entry.peer == name]
    orders = [place for place, entry in enumerate(of_site) if entry.direction == "out" and entry.kind in _ORDERS]
    answers = [entry for entry in of_site if entry.direction == "in" and entry.kind not in _BAD]
    bad = [entry for entry in of_site if entry.kind in _BAD and entry.note]
    error = bad[-1].note if bad and not (absent and (bad[-1].round or 0) < done) else absent
    doing = "was not asked yet"
    if orders:
        order, after = of_site[orders[-1]], of_site[orders[-1] + 1 :]
        asked = {"order": "training", "evaluation": "evaluation", "statistics": "statistics"}[order.kind]
        outcome = next((_outcome(entry) for entry in reversed(after)), f"works on it since {order.time[:19]}")
        doing = f"{asked}, round {order.round}: {outcome}"
    return SiteState(name, node, doing, len(answers), error)


def _outcome(entry: Entry) -> str:
    return {"decline": "declined", "refusal": "refused"}.get(entry.kind, "answered")
