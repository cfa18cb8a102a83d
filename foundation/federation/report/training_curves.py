"""The report's sections on training: losses, evaluation, and the drift between sites."""

import math
from collections.abc import Callable, Sequence

from foundation.federation.report import charts
from foundation.federation.report.charts import Panel
from foundation.federation.report.elements import Part, Section, Table, keys, unmeasured
from foundation.federation.report.elements import number as written
from foundation.federation.report.history import Numbers, Round, Run, nearest, number, times_chance, train_loss
from foundation.federation.report.participation import marks

_Value = Callable[[Round, str], float | None]


def losses(run: Run) -> Section:
    """Loss by site and round, in training and in evaluation, and retrieval."""
    title = "Loss and evaluation by site"
    curves: dict[str, _Value] = {
        "evaluation": lambda part, site: number(part.evaluation.get(site, {}).get("loss")),
        "training": lambda part, site: train_loss(part.training.get(site)),
    }
    loss = _multiples(run, "Loss", curves, "Loss by site and round, in training and in evaluation")
    k = nearest(metrics for part in run.rounds for metrics in part.evaluation.values())
    retrieval = _multiples(
        run,
        "Retrieval between modalities, times chance",
        {f"recall at {k} over chance": lambda part, site: times_chance(part.evaluation.get(site), k)},
        "Retrieval by site and round, as a multiple of chance",
        bounds=(0.0, 1.0),
    )
    notes = ["Evaluation is of the round's combined weights, on a site's patients outside training."]
    if set(run.held_out) & set(run.sites):
        notes.append("Dashed frames and ▸ mark hospitals that are held out of training.")
    return Section(title, [loss, retrieval, *_last_evaluation(run)], notes)


def _multiples(
    run: Run, heading: str, curves: dict[str, _Value], title: str, bounds: tuple[float, float] | None = None
) -> Part:
    """A panel a site; curves without any value are left out."""
    values = {
        site: {name: [of(part, site) for part in run.rounds] for name, of in curves.items()} for site in run.sites
    }
    named = [name for name in curves if any(_any(values[site][name]) for site in run.sites)]
    shown = {
        site: {name: series[name] for name in named}
        for site, series in values.items()
        if any(map(_any, series.values()))
    }
    if not shown:
        return unmeasured(heading, heading=heading)
    panels = [Panel(site, series, marks(run).get(site, ""), _end(series[named[0]])) for site, series in shown.items()]
    picture = charts.panels([part.round for part in run.rounds], panels, title, bounds)
    columns = [(site, name) for site in shown for name in named]
    heads = ["round", *(f"{site}, {name}" if len(named) > 1 else site for site, name in columns)]
    rows = [
        [str(part.round), *(written(shown[site][name][index]) for site, name in columns)]
        for index, part in enumerate(run.rounds)
    ]
    return Part(heading, keys(named, "line"), picture, Table(title, heads, rows))


def _any(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _end(values: Sequence[float | None], digits: int = 4) -> str:
    known = [value for value in values if value is not None]
    return written(known[-1], digits) if known else ""


def _last_evaluation(run: Run) -> list[Part]:
    """Every metric of the last round that was evaluated; recall with what chance gives beside it."""
    last = next((part for part in reversed(run.rounds) if part.evaluation), None)
    if last is None:
        return []
    sites = [site for site in run.sites if site in last.evaluation]
    names = sorted({name for metrics in last.evaluation.values() for name in metrics if "/chance@" not in name})
    rows = [[name, *(_beside_chance(last.evaluation[site], name) for site in sites)] for name in names]
    what = f"All that was evaluated after round {last.round}"
    table = Table(f"{what}; recall (r@k) with that of chance in brackets", ["metric", *sites], rows)
    return [Part(table=table, fold=what)]


def _beside_chance(metrics: Numbers, name: str) -> str:
    value, chance = metrics.get(name), metrics.get(name.replace("/r@", "/chance@"))
    return f"{written(value)} ({written(chance, 2)})" if "/r@" in name and chance is not None else written(value)


def drift(run: Run) -> Section:
    """Whether updates pull the same way, and how long they are."""
    title = "Drift between sites"
    groups = sorted({group for part in run.rounds for group in part.drift or {}}, key=lambda name: (":" in name, name))
    cosine = {
        group: [number((part.drift or {}).get(group)) for part in run.rounds]
        for group in groups
        if any(number((part.drift or {}).get(group)) is not None for part in run.rounds)
    }
    parts = [unmeasured("Cosine between updates"), _norms(run)]
    if cosine:
        panels = [Panel(group, {"cosine": values}, end=_end(values, 2)) for group, values in cosine.items()]
        rounds = [part.round for part in run.rounds]
        what = "Mean cosine between the updates of two sites, by parameter group and round"
        rows = [
            [str(rounds[index]), *(written(cosine[group][index], 3) for group in cosine)]
            for index in range(len(rounds))
        ]
        table = Table(what, ["round", *cosine], rows)
        parts[0] = Part("Agreement of updates", [], charts.panels(rounds, panels, what, (-1.0, 1.0)), table)
    notes = [
        "Mean cosine between the updates of any two sites that trained a group: 1 where they pull the same way, 0 "
        "where they have nothing to do with one another, below 0 where they undo one another."
    ]
    return Section(title, parts, notes)


def _norms(run: Run) -> Part:
    """Length of each site's update; of the parts of the model that it trained, together."""

    def length(part: Round, site: str) -> float | None:
        training = part.training.get(site)
        norms = [number(value) for value in ((training.norms if training else None) or {}).values()]
        return math.sqrt(sum(value**2 for value in norms if value is not None)) if norms else None

    heading = "Length of updates"
    return _multiples(run, heading, {"norm": length}, "Length of each site's update by round", bounds=(0.0, 0.0))
