"""`python -m finetune.evaluate`: a task model on the hospitals held out, with intervals and a baseline."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from finetune.evaluation import Evaluator
from finetune.plots import draw
from finetune.predictor import TaskModel
from foundation.command import command, plain
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.files import write_json
from foundation.run_record import RunRecord


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Writes evaluation.json, evaluation.md and evaluation.png."""
    run, output = Path(cfg.run), Path(cfg.output)
    model = TaskModel.load(run)
    cohort = Cohort.of_run(run)
    split = json.loads((run / "split.json").read_text())
    if split["cohort_digest"] != cohort.digest:
        raise UserError(f"{cohort.folder}: prepared anew since {run} was trained; run python -m finetune again")
    evaluator = Evaluator(model, cohort, split["train"], split["test"], cfg.resamples, cfg.seed)
    with RunRecord.open(output, "python -m finetune.evaluate", plain(cfg), cfg.seed, [run], cohort.facts()) as record:
        found = evaluator.run()
        write_json(output / "evaluation.json", found)
        (output / "evaluation.md").write_text(as_markdown(found, evaluator))
        draw(evaluator, found, output / "evaluation.png")
        record.metrics.update({name: interval["value"] for name, interval in found["overall"].items()})
    _print(found, evaluator.primary)
    print(f"evaluation: {output / 'evaluation.md'}\npicture: {output / 'evaluation.png'}")


def as_markdown(found: dict[str, Any], evaluator: Evaluator) -> str:
    """The tables as a page of Markdown."""
    cohort = evaluator.cohort
    note = " Synthetic patients: no clinical meaning." if cohort.synthetic else ""
    lines = [
        f"# {evaluator.model.task['name']} on {cohort.name}",
        "",
        f"{found['n']} test patients, {found['events']} with the event or positive.{note}"
        f" Intervals: 95 %, {evaluator.resamples} bootstrap resamples, seed {evaluator.seed}.",
        "",
        "| | patients | events | metric | value |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(found, list(evaluator.metrics))]
    return "\n".join(lines) + "\n"


def _rows(found: dict[str, Any], metrics: list[str]) -> list[list[str]]:
    groups = {"all test patients": found["overall"] | {"n": found["n"], "events": found["events"]}}
    groups |= {f"hospital {name}": group for name, group in found["by_hospital"].items()}
    groups |= {f"inputs: {name}": group for name, group in found["by_modality"].items()}
    if found["baseline"]:
        groups["baseline: age and sex"] = found["baseline"] | {"n": found["n"], "events": found["events"]}
        groups["gain over the baseline"] = found["baseline"]["gain"] | {"n": found["n"], "events": found["events"]}
    return [
        [label, str(group["n"]), str(group["events"]), name, _said(group[name])]
        for label, group in groups.items()
        for name in metrics
        if name in group
    ]


def _said(interval: dict[str, float | None]) -> str:
    if interval["value"] is None:
        return "not defined (one outcome only)"
    return f"{interval['value']:.3f} ({interval['low']:.3f} – {interval['high']:.3f})"


def _print(found: dict[str, Any], metric: str) -> None:
    table = Table("", "patients", "events", metric, title="Held-out test, 95 % intervals")
    for label, patients, events, _, value in _rows(found, [metric]):
        table.add_row(label, patients, events, value)
    Console().print(table)


if __name__ == "__main__":
    main()
