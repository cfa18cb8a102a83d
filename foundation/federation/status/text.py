"""A run's state in words, and as Prometheus reads it."""

from datetime import UTC, datetime

from foundation.federation.status.state import RunState

_PHASES = ("not begun", "running", "finished", "failed", "killed")


def in_words(state: RunState, now: datetime | None = None) -> str:
    """For people: a line a fact, the next command last.

    Args:
        state: of the run.
        now: for what is left; the present if None.
    """
    lines = [f"{state.folder}: {state.phase}, {state.round} of {state.rounds} rounds"]
    if state.seconds is not None and state.phase == "running":
        lines.append(
            f"  about {(state.rounds - state.round) * state.seconds:.0f} s to go, {state.seconds:.1f} s a round"
        )
    if state.deadline is not None:
        left = (state.deadline - (now or datetime.now(UTC))).total_seconds()
        when = f"in {left:.0f} s" if left > 0 else f"over by {-left:.0f} s"
        lines.append(f"  next deadline {state.deadline:%Y-%m-%d %H:%M:%S} UTC ({when})")
    width = max((len(site.name) for site in state.sites), default=0)
    for site in state.sites:
        node = f"{site.node}, " if site.node else ""
        lines.append(f"  {site.name:{width}}  {node}{site.doing}; {site.answered} answers")
        if site.last_error:
            lines.append(f"  {'':{width}}  last error: {site.last_error}")
    if state.cause:
        lines.append(f"cause: {state.cause}")
    return "\n".join([*lines, f"next: {state.advice}"]) + "\n"


def as_prometheus(state: RunState) -> str:
    """As Prometheus' text format 0.0.4 has it, for a textfile collector or a scrape."""
    run = f'run="{_escaped(str(state.folder))}"'
    metrics: list[tuple[str, str, list[tuple[str, float]]]] = [
        ("consilium_federation_rounds_finished", "Rounds that count.", [(run, state.round)]),
        ("consilium_federation_rounds_planned", "Rounds of the run.", [(run, state.rounds)]),
        (
            "consilium_federation_phase",
            "1 for the phase that the run is in.",
            [(f'{run},phase="{phase}"', float(phase == state.phase)) for phase in _PHASES],
        ),
        (
            "consilium_federation_site_answers",
            "Updates, evaluations and statistics that came from a site.",
            [(f'{run},site="{_escaped(site.name)}"', site.answered) for site in state.sites],
        ),
        (
            "consilium_federation_site_error",
            "1 where the run has had an error of a site.",
            [(f'{run},site="{_escaped(site.name)}"', float(bool(site.last_error))) for site in state.sites],
        ),
        (
            "consilium_federation_site_online",
            "1 where a site's node is connected.",
            [(f'{run},site="{_escaped(s.name)}"', float(s.node == "online")) for s in state.sites if s.node],
        ),
    ]
    if state.seconds is not None:
        metrics.append(("consilium_federation_round_seconds", "Mean of the finished rounds.", [(run, state.seconds)]))
    if state.deadline is not None:
        stamp = state.deadline.timestamp()
        metrics.append(("consilium_federation_deadline_seconds", "Unix time of the next deadline.", [(run, stamp)]))
    lines = []
    for name, about, values in metrics:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge"] if values else []
        lines += [f"{name}{{{labels}}} {value:.15g}" for labels, value in values]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
