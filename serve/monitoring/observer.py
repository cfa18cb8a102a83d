"""What a host tells of each request: counts of the day, metrics for Prometheus, a line of the audit trail."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foundation.errors import UserError
from foundation.files import read_json, write_json
from serve.host import Call, Reply
from serve.monitoring import drift
from serve.monitoring.audit import AuditTrail
from serve.monitoring.usage import SCORE_EDGES, Usage

FILE = "usage.json"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120)
_ANEW = "move it away, and counting begins anew"
_LOG = logging.getLogger("serve")
_EVERY = 10.0  # seconds between two savings
_KEPT_DAYS = 400
WINDOW_DAYS = 7  # of answers that drift is told from


class Observer:
    """Counts of a running host.

    Args:
        folder: of `usage.json` and the audit trail.
        reference: counts of the bundle; None where it has none.
        labels: of the model, such as name and version.
    """

    def __init__(self, folder: Path, reference: Usage | None, labels: Mapping[str, str]) -> None:
        self._path = folder / FILE
        self._reference, self._labels = reference, labels
        self._days = _own_days(folder, labels["version"])
        self._total = Usage()
        self._statuses: Counter[str] = Counter()
        self._seconds = [0] * (len(_SECONDS) + 1)
        self._seconds_sum = 0.0
        self._saved = time.monotonic()
        self.trail = AuditTrail(folder, labels["version"])

    def observe(self, caller: str | None, call: Call, reply: Reply, seconds: float) -> None:
        """One request and what it got.

        Raises:
            OSError: if the audit trail cannot be written; the request is counted nowhere then.
        """
        self.trail.add(caller, call.request_id, call.body, reply.status, (reply.counted or {}).get("version"))
        self._statuses[str(int(reply.status))] += 1
        self._seconds[sum(seconds > edge for edge in _SECONDS)] += 1
        self._seconds_sum += seconds
        if caller is not None:  # of strangers, status and audit trail tell enough
            for usage in (self._total, self._days.setdefault(time.strftime("%Y-%m-%d", time.gmtime()), Usage())):
                usage.add(reply.status, reply.counted)
        if time.monotonic() - self._saved > _EVERY:
            try:
                self.save()
            except OSError as error:  # no request's fault: what is counted stays in memory until there is room
                _LOG.error("%s: cannot be written (%s); tried again in %g s", self._path, error.strerror, _EVERY)
                self._saved = time.monotonic()

    def replace(self, reference: Usage | None, labels: Mapping[str, str]) -> None:
        """Counts for another version from now on, beside that one's reference; the earlier one's are put aside."""
        self.save()
        self._days = _own_days(self._path.parent, labels["version"])
        self._reference, self._labels, self.trail.version = reference, labels, labels["version"]
        self.save()

    def save(self) -> None:
        """Writes the counts by day."""
        kept = sorted(self._days)[-_KEPT_DAYS:]
        write_json(self._path, {**self._labels, "days": {day: self._days[day].model_dump() for day in kept}})
        self.trail.save_head()
        self._saved = time.monotonic()

    def close(self) -> None:
        """Saves, and ends the audit trail."""
        self.save()
        self.trail.close()

    def metrics(self, gauges: Mapping[str, float]) -> str:
        """All of it as Prometheus reads it.

        Args:
            gauges: of the host's own, such as the workers that are ready.
        """
        total = self._total
        lines = [*_metric("info", "gauge", [(self._labels, 1)])]
        lines += _metric("requests_total", "counter", (({"status": key}, n) for key, n in self._statuses.items()))
        lines += _histogram("request_seconds", {}, _SECONDS, self._seconds, self._seconds_sum)
        lines += _metric("answered_total", "counter", [({}, total.answered)])
        lines += _metric("abstained_total", "counter", [({}, total.abstained)])
        lines += _metric("modality_total", "counter", (({"modality": key}, n) for key, n in total.modalities.items()))
        lines += ["# TYPE consilium_out_of_distribution_score histogram"] if total.scores else []
        for name, row in total.scores.items():
            lines += _histogram("out_of_distribution_score", {"modality": name}, SCORE_EDGES, row, None)[1:]
        compared = [] if self._reference is None else drift.compare(self._reference, recent(self._days, WINDOW_DAYS))
        keys = [({"modality": one.modality, "statistic": one.statistic}, one) for one in compared]
        lines += _metric("drift_index", "gauge", ((labels, one.index) for labels, one in keys))
        lines += _metric("drift_limit", "gauge", ((labels, one.limit) for labels, one in keys))
        for name, value in gauges.items():
            lines += _metric(name, "counter" if name.endswith("_total") else "gauge", [({}, value)])
        return "\n".join(lines) + "\n"


def load(folder: Path, version: str) -> dict[str, Usage]:
    """The counts by day of a host's folder.

    Args:
        folder: of the host.
        version: of the bundle that was asked: the counts of another are no use of this one.

    Raises:
        UserError: if it has none, they are of another version, or they cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no {FILE}; give the output folder of python -m serve host=asgi")
    content = read_json(path, _ANEW, "days", "version")
    if content["version"] != version:
        finding = f"counts of version {content['version']}, the server's bundle is {version}"
        raise UserError(f"{path}: {finding}; ask when it has been asked, or give the folder of the other")
    days = content["days"]
    try:
        return {day: Usage.model_validate(content) for day, content in days.items()}
    except (AttributeError, ValidationError) as error:
        raise UserError(f"{path}: no counts of this release; {_ANEW}") from error


def recent(days: Mapping[str, Usage], count: int) -> Usage:
    """The sum of the latest days on which anybody asked."""
    return sum((days[day] for day in sorted(days)[-count:]), Usage())


def _own_days(folder: Path, version: str) -> dict[str, Usage]:
    """The counts so far of this version; those of another are moved aside under its name, and come back with it."""
    path = folder / FILE
    aside = path.with_name(f"usage-{version}.json")
    if not path.is_file() and aside.is_file():
        aside.replace(path)
    if not path.is_file():
        return {}
    other = read_json(path, _ANEW, "version")["version"]
    if other == version:
        return load(folder, version)
    path.replace(path.with_name(f"usage-{other}.json"))
    return _own_days(folder, version) if aside.is_file() else {}


def _metric(name: str, kind: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = [f"consilium_{name}{_labels(labels)} {value}" for labels, value in samples]
    return [f"# TYPE consilium_{name} {kind}", *lines] if lines else []


def _histogram(
    name: str, labels: Mapping[str, str], edges: Iterable[float], row: list[int], total: float | None
) -> list[str]:
    lines, count = [f"# TYPE consilium_{name} histogram"], 0
    for edge, n in zip([*edges, float("inf")], row, strict=True):
        count += n
        le = "+Inf" if edge == float("inf") else f"{edge:g}"
        lines.append(f"consilium_{name}_bucket{_labels({**labels, 'le': le})} {count}")
    lines.append(f"consilium_{name}_count{_labels(labels)} {count}")
    return lines if total is None else [*lines, f"consilium_{name}_sum{_labels(labels)} {total:g}"]


def _labels(labels: Mapping[str, Any]) -> str:
    text = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{{{text}}}" if text else ""
