"""The report's sections on participation: sites by rounds, and their shares in each parameter group."""

from collections.abc import Sequence

from foundation.federation.report import charts
from foundation.federation.report.elements import NOT_MEASURED, Part, Section, Table, key, reasons, spans, unmeasured
from foundation.federation.report.history import Round, Run, number

_STATES = {
    "both": ("trained and evaluated", "bar"),
    "trained": ("trained, not evaluated", "half"),
    "evaluated": ("evaluated only", "hollow"),
    "absent": ("absent", "cross"),
    "nothing": ("nothing written down", "dot"),
}


def marks(run: Run) -> dict[str, str]:
    """By site that is held out, what to say of it."""
    return dict.fromkeys(run.held_out, "held out")


def participation(run: Run) -> Section:
    """Sites by rounds: trained, evaluated, absent and why."""
    rounds, sites = run.rounds, run.sites
    if not sites or not rounds:
        return Section("Who took part when", [unmeasured("Rounds")])
    states = {site: [_state(site, part) for part in rounds] for site in sites}
    picture = charts.participation(
        [part.round for part in rounds],
        states,
        marks(run),
        "Sites by rounds: who trained, was evaluated, or was absent",
    )
    shown = {state for cells in states.values() for state, _ in cells}
    legend = [key(text, 0, kind) for state, (text, kind) in _STATES.items() if state in shown]
    table = Table("Rounds by site", ["site", *(text for text, _ in _STATES.values())], _tally(states, rounds))
    notes = ["▸ marks a hospital that is held out of training."] if set(run.held_out) & set(sites) else []
    absences = reasons("Absences, and why", ((part.round, part.absent) for part in rounds))
    return Section("Who took part when", [Part("", legend, picture, table), *absences], notes)


def _state(site: str, part: Round) -> tuple[str, str]:
    trained, evaluated = site in part.training, site in part.evaluation
    state = "both" if trained and evaluated else "trained" if trained else "evaluated" if evaluated else "nothing"
    reason = part.absent.get(site, "")
    if state == "nothing" and reason:
        return "absent", f"absent, {reason}"
    text = _STATES[state][0]
    return state, f"{text}; {reason}" if reason else text


def _tally(states: dict[str, list[tuple[str, str]]], rounds: Sequence[Round]) -> list[list[str]]:
    rows = []
    for site, cells in states.items():
        by_state = {
            state: [part.round for part, (has, _) in zip(rounds, cells, strict=True) if has == state]
            for state in _STATES
        }
        rows.append([site, *(spans(numbers) or "–" for numbers in by_state.values())])
    return rows


def coverage(run: Run) -> Section:
    """Shares of each site in each parameter group, round by round."""
    title = "Who trained which part of the model"
    known = [part.coverage for part in run.rounds if part.coverage is not None]
    if not known or not run.groups:
        return Section(title, [unmeasured("Coverage")])
    named = {site for shares in known for group in shares.values() for site in group}
    sites = [site for site in run.sites if site in named] + sorted(named - set(run.sites))
    shares = {
        (group, site): [None if part.coverage is None else _share(part, group, site) for part in run.rounds]
        for group in run.groups
        for site in sites
    }
    picture = charts.strips(run.groups, sites, shares, "Share of each site in each parameter group, round by round")
    rows = [[group, *(_mean(shares[group, site]) for site in sites), _untrained(run, group)] for group in run.groups]
    table = Table("Mean share over the rounds", ["group", *sites, "rounds in which nobody trained it"], rows)
    notes = [
        "A strip is a site's share in the average of a parameter group, a stripe a round: the fuller its colour, the "
        "larger; beside it the mean of the rounds. A group is averaged over those sites alone that trained it."
    ]
    missing = [part.round for part in run.rounds if part.coverage is None]
    if missing:
        notes.append(f"Rounds {spans(missing)}, grey: {NOT_MEASURED}.")
    return Section(title, [Part("", [], picture, table)], notes)


def _share(part: Round, group: str, site: str) -> float:
    """0 where a round does not name the site: it did not teach the group."""
    return number((part.coverage or {}).get(group, {}).get(site)) or 0.0


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.1%}" if any(known) else "–"


def _untrained(run: Run, group: str) -> str:
    rounds = [
        part.round
        for part in run.rounds
        if part.coverage is not None and not any((part.coverage.get(group) or {}).values())
    ]
    return spans(rounds) or "none"
