"""The report's sections on resources: bytes by site and direction, and seconds by phase."""

from collections import Counter
from collections.abc import Mapping

from foundation.federation.report import charts
from foundation.federation.report.elements import Part, Section, Table, duration, keys, size, spans, unmeasured
from foundation.federation.report.elements import number as written
from foundation.federation.report.history import Round, Run, number, seconds_of

_WAYS = {"to the site": "to_site", "from the site": "from_site"}
_PHASES = ("training at sites", "waiting and transport", "evaluation", "aggregation", "other")
_TURNS = ".Cyclic"  # the strategy in which sites train one after another


def traffic(run: Run) -> Section:
    """Bytes of arrays, by site and direction."""
    title = "Bytes by site and direction"
    totals = _bytes_by_site(run)
    if not totals:
        return Section(title, [unmeasured("Bytes")])
    biggest = max(count for by_way in totals.values() for count in by_way.values())
    unit, power = next(((u, p) for u, p in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if biggest >= p), ("B", 1.0))
    sites = [site for site in run.sites if site in totals]
    rows = {
        site: {name: totals[site][way] / power for name, way in _WAYS.items() if way in totals[site]} for site in sites
    }
    picture = charts.bars(rows, unit, "Bytes to and from each site", stacked=False)
    table = Table(
        "Bytes over all rounds, of updates that were taken",
        ["site", *_WAYS, "rounds", "from a site, a round", "from a site, as a share of what it was sent"],
        [_row(run, site, totals[site]) for site in sites],
    )
    notes = [
        "Bytes of the arrays in orders to train and in the updates that came back, as history.json counts them; "
        "evaluation, and updates that were refused or came too late, are not among them."
    ]
    return Section(title, [Part("", keys(_WAYS), picture, table)], notes)


def _row(run: Run, site: str, by_way: Mapping[str, int]) -> list[str]:
    rounds = sum(site in part.training for part in run.rounds)
    there, back = by_way.get("to_site"), by_way.get("from_site")
    return [
        site,
        *("–" if by_way.get(way) is None else f"{by_way[way]:,}" for way in _WAYS.values()),
        str(rounds),
        "–" if back is None else size(back / max(rounds, 1)),
        f"{back / there:.1%}" if there and back is not None else "–",
    ]


def total_bytes(run: Run) -> Counter[str]:
    """By direction, of all sites; nothing where nothing was counted."""
    total: Counter[str] = Counter()
    for by_way in _bytes_by_site(run).values():
        total.update(by_way)
    return total


def _bytes_by_site(run: Run) -> dict[str, Counter[str]]:
    totals: dict[str, Counter[str]] = {}
    for part in run.rounds:
        for site, training in part.training.items():
            if training.bytes:
                totals.setdefault(site, Counter()).update(training.bytes)
    return totals


def time(run: Run) -> Section:
    """Seconds of each round by phase, and of each site by what it did."""
    title = "Time, and where it went"
    rounds = {str(part.round): seconds for part in run.rounds if (seconds := phases(run, part))}
    parts = [unmeasured("Seconds by round"), _by_site(run)]
    notes: list[str] = []
    if rounds:
        used = [phase for phase in _PHASES if any(row.get(phase, 0) > 0 for row in rounds.values())]
        rows = {f"round {name}": {phase: row.get(phase, 0.0) for phase in used} for name, row in rounds.items()}
        table = Table(
            "Seconds by round",
            ["round", *used, "total"],
            [
                [name, *(written(row.get(phase)) for phase in used), written(sum(row.values()))]
                for name, row in rounds.items()
            ],
        )
        picture = charts.bars(_few(rows), "s", "Seconds of each round by phase")
        parts[0] = Part("By round, on the server's clock", keys(used), picture, table)
        notes = _notes(run, rounds)
    return Section(title, parts, notes)


def _few(rows: dict[str, dict[str, float]], most: int = 30) -> dict[str, dict[str, float]]:
    """Rounds that have room; where there are many, means of as many as stand together."""
    if len(rows) <= most:
        return rows
    together = -(-len(rows) // most)
    names = list(rows)
    means: dict[str, dict[str, float]] = {}
    for start in range(0, len(names), together):
        block = names[start : start + together]
        label = f"rounds {block[0].removeprefix('round ')}–{block[-1].removeprefix('round ')}, mean"
        means[label] = {phase: sum(rows[name][phase] for name in block) / len(block) for phase in rows[block[0]]}
    return means


def phases(run: Run, part: Round) -> dict[str, float]:
    """Seconds of a round by phase; nothing where its total was not written down."""
    seconds = {name: value for name, count in (part.seconds or {}).items() if (value := number(count)) is not None}
    if "total" not in seconds:
        return {}
    total = seconds.pop("total")
    by_phase: dict[str, float] = {}
    at_sites = [one for training in part.training.values() if (one := seconds_of(training.metrics)) is not None]
    if "training" in seconds:
        phase = seconds.pop("training")
        busy = min(phase, (sum(at_sites) if _in_turns(run) else max(at_sites, default=0.0)))
        by_phase = (
            {"training at sites": busy, "waiting and transport": phase - busy}
            if at_sites
            else {"training at sites": phase}
        )
    by_phase |= {name: value for name, value in seconds.items() if name in ("aggregation", "evaluation")}
    return {**by_phase, "other": max(total - sum(by_phase.values()), 0.0)}


def _in_turns(run: Run) -> bool:
    strategy = run.record.get("config", {}).get("strategy") or {}
    return str(strategy.get("_target_", "")).endswith(_TURNS)


def _notes(run: Run, rounds: dict[str, dict[str, float]]) -> list[str]:
    whole = sum(sum(row.values()) for row in rounds.values())
    busy = sum(row.get("training at sites", 0.0) for row in rounds.values())
    kind = "all sites together, which trained in turn" if _in_turns(run) else "the site that took longest"
    notes = [
        f"Training at sites is the seconds of {kind}, by the site's own clock; waiting and transport is what the "
        "training phase took beyond that: transfer, the start of processes, and queues."
    ]
    if whole:
        notes.append(
            f"All rounds together: {duration(whole)}, of which {1 - busy / whole:.1%} was not training at sites."
        )
    missing = [part.round for part in run.rounds if str(part.round) not in rounds]
    if missing:
        notes.append(f"Rounds {spans(missing)}: not measured.")
    seconds = number(run.record.get("seconds"))
    if seconds and whole < seconds and run.record.get("status") == "finished":
        notes.append(
            f"The run took {duration(seconds)}; what no round counts is its start and its end, or earlier work."
        )
    return notes


def _by_site(run: Run) -> Part:
    """Of the rounds in which a site took part: its training, its evaluation, and the rest, in which it waited."""
    heading = "By site, on each site's own clock"
    rows: dict[str, dict[str, float]] = {}
    for site in run.sites:
        trained = evaluated = waited = 0.0
        for part in run.rounds:
            one = seconds_of(part.training[site].metrics) if site in part.training else None
            other = seconds_of(part.evaluation.get(site))
            total = number((part.seconds or {}).get("total"))
            trained, evaluated = trained + (one or 0.0), evaluated + (other or 0.0)
            if total is not None and (one is not None or other is not None):
                waited += max(total - (one or 0.0) - (other or 0.0), 0.0)
        if trained or evaluated:
            rows[site] = {"training": trained, "waiting": waited, "evaluation": evaluated}
    if not rows:
        return unmeasured("Seconds by site", heading=heading)
    names = ["training", "waiting", "evaluation"]  # in the colours of the rounds above
    table = Table(
        "Seconds by site, over the rounds in which it took part",
        ["site", *names],
        [[site, *(written(row[name]) for name in names)] for site, row in rows.items()],
    )
    return Part(heading, keys(names), charts.bars(rows, "s", "Seconds of each site by what it did"), table)
