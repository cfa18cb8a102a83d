"""`python -m finetune.evaluate`: a task model on the hospitals held out, with intervals and a baseline."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Column, Table

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.files import write_json, write_text
from foundation.lineage import SEEN, said_first, trained_groups
from foundation.run_output import claim
from foundation.run_record import RunRecord, read_run, walk

if TYPE_CHECKING:
    from finetune.evaluation import Evaluator
    from foundation.data.splits import Split

_COMMAND = "python -m finetune.evaluate"
_RELIABILITY = {
    "coverage": "coverage",
    "region_size": "classes in the set, or width",
    "out_of_distribution": "out of distribution",
    "abstained": "abstained",
    "risk_answered": "risk where answered",
    "risk": "risk had all been answered",
    "area_under_risk_coverage": "area under risk-coverage",
}
_FILES = {
    "evaluation.md": "evaluation",
    "evaluation.png": "picture",
    "evaluation.html": "report",
    "results.json": "every figure",
    "predictions.parquet": "every prediction",
}


@command("evaluate", loads="torch, pytorch_lightning, timm, transformers")
def main(cfg: DictConfig) -> None:
    """Writes evaluation.json, .md, .png and .html, results.json and predictions.parquet."""
    from finetune.baselines.comparison import verdict
    from finetune.evaluation import Evaluator
    from finetune.predictor import TaskModel
    from finetune.results import write_predictions
    from foundation.data.cohort import Cohort
    from foundation.data.splits import Split, configured_split
    from foundation.statistics.figure import Support

    run, output = Path(cfg.run), Path(cfg.output)
    claim(output, _COMMAND, plain(cfg))
    model = TaskModel.load(run)
    cohort = Cohort.of_run(run)
    parts = Split.read(run / "split.json", cohort.digest, cohort.patients.index, cohort.earlier)
    if cfg.came_since:
        parts = _with_newcomers(parts, configured_split(cohort, read_run(run)["config"]["data"]))
    split = asdict(parts)
    _check(cfg)
    kept = read_run(run)["config"].get("embeddings")
    evaluator = Evaluator(
        model,
        cohort,
        [*split["train"], *split["validation"]],
        split["test"],
        cfg.resamples,
        cfg.seed,
        Support(**plain(cfg.support)),
        exact=cfg.grid == "exact",
        age_bands=list(cfg.age_bands),
        subgroups=list(cfg.subgroups),
        source=str(run),
        folder=kept and Path(kept),
        trained=trained_groups(record.content for record in walk(run)),
    )
    if evaluator.ignored:
        print(_ignored(evaluator))
    held_out = read_run(run)["config"].get("data", {}).get("test_hospitals", [])
    test = cohort.patients.loc[evaluator.test, "hospital"].to_dict()
    words = said_first([run], test, held_out, cfg.allow_seen)
    if words:
        print(words)
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, [run], cohort.facts()) as record:
        record.note("untrained", evaluator.ignored)
        result = evaluator.run()
        beaten = verdict(result, evaluator.primary)
        if beaten:
            print(beaten)
            record.note("beaten", beaten)
            result = {"beaten": beaten, **result}
        if words:
            record.note("seen", words)
            record.note("held_out", not words.startswith(SEEN))
            result = {"seen": words, **result}
        write_json(output / "evaluation.json", result, sort_keys=False)  # classes stay in order
        write_text(output / "evaluation.md", as_markdown(result, evaluator))
        _draw(result, evaluator, output / "evaluation.png")
        for name in cfg.predict:
            if name != "test":  # those are kept already, by subset of modalities
                evaluator.predict(name, split[name])
        results = evaluator.results()
        write_json(output / "results.json", results, sort_keys=False)
        write_text(output / "evaluation.html", _report(result, results, evaluator))
        write_predictions(evaluator.predictions, output / "predictions.parquet")
        record.metrics.update({name: interval["value"] for name, interval in result["overall"].items()})
    print_table(result, evaluator.primary)
    for name, what in _FILES.items():
        print(f"{what}: {output / name}")


def _with_newcomers(parts: "Split", now: "Split") -> "Split":
    """A run's parts, and beside its test patients those whom the same rule makes test patients of the cohort by now."""
    known = {*parts.train, *parts.validation, *parts.test}
    return replace(parts, test=[*parts.test, *(patient for patient in now.test if patient not in known)])


def _check(cfg: DictConfig) -> None:
    if cfg.grid not in ("exact", "declared"):
        raise UserError(f"grid: found {cfg.grid!r}; choose exact or declared")
    for name in cfg.predict:
        if name not in ("train", "validation", "test"):
            raise UserError(f"predict: found {name!r}; choose of train, validation and test")


def as_markdown(result: dict[str, Any], evaluator: "Evaluator") -> str:
    """The tables as a page of Markdown."""
    cohort = evaluator.cohort
    note = " Synthetic patients: no clinical meaning." if cohort.synthetic else ""
    outcomes = outcome_names(result)
    counts = ", ".join(f"{result[name]} {name}" for name in outcomes)
    header = ["", "patients", *outcomes, "metric", "value"]
    first = [line for field in ("seen", "beaten") if field in result for line in (f"> **{result[field]}**", "")]
    lines = [
        *first,
        f"# {evaluator.model.task['name']} on {cohort.name}",
        "",
        f"{result['n']} test patients{': ' if counts else ''}{counts}.{note}"
        f" Intervals: 95 %, {evaluator.resamples} bootstrap replicates of patients (a new hospital: of hospitals),"
        f" seed {evaluator.seed}.{f' {_ignored(evaluator)}.' if evaluator.ignored else ''}",
        "",
        f"|{' | '.join(header)} |",
        "| --- " * len(header) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(result, list(evaluator.metrics))]
    if result["calibration"]:
        words = "; ".join(f"{label}: {on}" for label, on in result["calibration"].items())
        lines += ["", f"Temperature by what a patient has, fitted on: {words}."]
    lines += _reliability_lines(result["reliability"])
    for name, control in result["controls"].items():
        if "chance" in control:
            chance = f"{control['value']:.3f}, by chance {control['chance']:.3f}, {control['n']} patients"
            lines += ["", f"Control, {name}: balanced accuracy of a linear probe {chance}."]
    lines += _probe_lines(result["probes"], evaluator.primary)
    return "\n".join(lines) + "\n"


def _ignored(evaluator: "Evaluator") -> str:
    return f"Not read, for no patient trained it: {', '.join(evaluator.ignored)}"


def _probe_lines(tables: dict[str, Any], metric: str) -> list[str]:
    """What features tell without a fit, a line a modality."""
    lines = []
    for name, row in tables.items():
        near = row["neighbours"]
        words = f"{metric} {near['value']:.3f} by {near['k']} nearest neighbours, {near['n']} patients"
        few = [f"{shots}: {one['mean']:.3f} (SD {one['sd']:.3f})" for shots, one in row.get("few_shot", {}).items()]
        words += f"; by means of so many patients a class, {', '.join(few)}" if few else ""
        lines += ["", f"Probe of {name}, without a fit: {words}."]
    return lines


def _reliability_lines(tables: dict[str, Any]) -> list[str]:
    """How far answers could be relied on, as a table of Markdown."""
    if not tables:
        return []
    groups = {"all test patients": tables["overall"]}
    groups |= {f"hospital {name}": row for name, row in tables["by_hospital"].items()}
    groups |= {f"inputs: {name}": row for name, row in tables["by_modality"].items()}
    lines = ["", f"Regions are to hold the truth in {tables['coverage']:.0%} of patients.", ""]
    lines += [f"| | patients | {' | '.join(_RELIABILITY.values())} |", "| --- " * (2 + len(_RELIABILITY)) + "|"]
    for label, row in groups.items():
        cells = [_interval(row[name], reasons=False) for name in _RELIABILITY]
        lines.append(f"| {label} | {row['n']} | {' | '.join(cells)} |")
    return lines


def outcome_names(result: dict[str, Any]) -> list[str]:
    """The counts of an evaluation beside that of its patients, as the head names them."""
    return [name for name, value in result.items() if name != "n" and isinstance(value, int)]


def _rows(result: dict[str, Any], metrics: list[str], reasons: bool = True) -> list[list[str]]:
    outcomes = outcome_names(result)
    counts = {name: result[name] for name in ("n", *outcomes)}
    groups = {"all test patients": result["overall"] | counts}
    groups["a new hospital"] = result["new_hospital"] | counts
    groups |= {f"hospital {name}": group for name, group in result["by_hospital"].items()}
    groups |= {f"inputs: {name}": group for name, group in result["by_modality"].items()}
    for name, levels in result["by_group"].items():
        groups |= {f"{name}: {level}": group for level, group in levels.items()}
    if result["baseline"]:
        groups["baseline: age and sex"] = result["baseline"] | counts
        groups["gain over the baseline"] = result["baseline"]["gain"] | counts
    for name, row in result["baselines"].items():
        groups[f"baseline: {name}"] = row
        groups[f"the model beside {name}"] = row["model"] | {count: row[count] for count in counts}
    for name, row in result["controls"].items():
        if metrics[0] in row:
            groups[f"control: {name}"] = row
    return [
        [label, *(str(group[count]) for count in counts), name, _interval(group[name], reasons)]
        for label, group in groups.items()
        for name in metrics
        if name in group
    ]


def _interval(interval: dict[str, Any], reasons: bool) -> str:
    reason = f" ({interval.get('reason', 'one of the two is not')})" if reasons else ""
    if interval["value"] is None:
        return f"not defined{reason}"
    if interval["low"] is None:
        return f"{interval['value']:.3f}, without interval{reason}"
    return f"{interval['value']:.3f} ({interval['low']:.3f} – {interval['high']:.3f})"


def _report(result: dict[str, Any], results: dict[str, Any], evaluator: "Evaluator") -> str:
    """The page of `finetune.report`."""
    from finetune.report import report

    cohort = evaluator.cohort
    synthetic = " Synthetic patients: no clinical meaning." if cohort.synthetic else ""
    lead = [f"{result['n']} test patients of {cohort.name}, none of whom training saw.{synthetic}"]
    if "beaten" in result:
        lead.append(result["beaten"])
    first = result.get("seen", "")
    page = report(results, evaluator.primary, lead if not first else [f"{result['n']} test patients."], first)
    return page.render({"source": evaluator.source, "split": "test", "seed": evaluator.seed})


def _draw(result: dict[str, Any], evaluator: "Evaluator", path: Path) -> None:
    from finetune.plots import draw

    targets, estimates = evaluator.columns(evaluator.test), evaluator.test_estimates
    label = " (synthetic patients)" if evaluator.cohort.synthetic else ""
    title = f"{evaluator.model.task['name']} on {evaluator.cohort.name}{label}, {result['n']} test patients"
    chance = evaluator.metrics[evaluator.primary].chance
    draw(result, evaluator.primary, chance, lambda axes: evaluator.head.plot(axes, targets, estimates), title, path)


def print_table(result: dict[str, Any], metric: str) -> None:
    """The primary metric of every group, on the terminal; the page says why one is not defined."""
    groups = Column(overflow="fold")  # names whole, however narrow the terminal
    kind = SEEN if result.get("seen", "").startswith(SEEN) else "Held-out test"
    table = Table(groups, "patients", *outcome_names(result), metric, title=f"{kind}, 95 % intervals")
    for label, *counts, _, value in _rows(result, [metric], reasons=False):
        table.add_row(label, *counts, value)
    Console().print(table)


if __name__ == "__main__":
    main()
