"""`python -m serve.card`: the model card, from the run records alone."""

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from omegaconf import DictConfig, ListConfig

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.files import write_json, write_text
from foundation.run_output import claim
from foundation.run_record import FILE, RunRecord, walk
from serve.facts import Facts, cell, duration, interval, setting, show
from serve.pretraining import held_out, samples, taught

_COMMAND = "python -m serve.card"
_STAGES = ("pretrain", "pretrain.federated", "finetune", "finetune.federated")  # that make weights
_EVALUATION, _PICTURE = "evaluation.json", "evaluation.png"
_TRAINING = {
    "train/loss_epoch": "training loss, mean of the last epoch",
    "train/loss_step": "training loss, last step",
    "validation/loss": "validation loss",
    "validation/best_loss": "validation loss of the weights kept",
}
_METRICS = {
    "auc": "AUC",
    "auroc": "AUC",
    "auprc": "AUPRC",
    "c_index": "C-index",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "f1": "F1",
}


@command("card")
def main(cfg: DictConfig) -> None:
    """Writes README.md, card.html and card.json."""
    paths = cfg.evaluation
    evaluations = [Path(path) for path in (paths if isinstance(paths, ListConfig) else [paths])]
    output = Path(cfg.output)
    claim(output, _COMMAND, plain(cfg))
    markdown, html, content = build(evaluations, output, cfg.name, cfg.license)
    parents = list(dict.fromkeys(evaluations))
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, parents) as record:
        for folder, result in zip(evaluations, content["results"], strict=True):
            shutil.copyfile(folder / _PICTURE, output / result["picture"])
        write_text(output / "README.md", markdown)
        write_text(output / "card.html", html)
        write_json(output / "card.json", content)
        record.note("numbers_traced", len(content["sources"]))
    print(f"card: {output / 'README.md'}\npage: {output / 'card.html'}\ndata: {output / 'card.json'}")


def build(evaluations: list[Path], output: Path, name: str, licence: str) -> tuple[str, str, dict[str, Any]]:
    """The card of a model with one or more evaluated tasks.

    Args:
        evaluations: output folders of `finetune.evaluate`.
        output: where the card will lie; sources are named from there.
        name: of the model.
        licence: SPDX identifier, in lower case as Hugging Face has it.

    Returns:
        Markdown, HTML page, and the machine-readable card.

    Raises:
        UserError: if a linked run is missing or changed, or a number in the text is in none of them.
    """
    facts = Facts(output.resolve())
    runs: dict[Path, dict[str, Any]] = {}
    results: list[dict[str, Any]] = []
    for folder in evaluations:
        for file in (_EVALUATION, _PICTURE):
            if not (folder / file).is_file():
                raise UserError(f"{folder}: no {file}; give the output folder of python -m finetune.evaluate")
        chain = [path for path, _ in walk(folder)]
        for path in chain:
            runs.setdefault(path, _run(facts, path))
        result = _result(facts, folder, chain)
        results.append(result | {"picture": _picture_name(result["task"]["name"], results)})
    content: dict[str, Any] = {
        "name": name,
        "license": licence,
        "synthetic": any(run["data"].get("synthetic") for run in runs.values()),
        "results": results,
        "runs": list(runs.values()),
        "cohorts": _cohorts(runs.values()),
        "modalities": _modalities(facts, runs),
        "training": [run for run in runs.values() if run["stage"] in _STAGES],
    }
    templates = _templates()
    template, source = templates.get_template("card.md.jinja"), _source(templates, "card.md.jinja")
    markdown = template.render(**content)
    facts.check(markdown, " ".join([source, name, licence]))
    body = markdown.split("\n---\n", 1)[1]
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    html = templates.get_template("card.html.jinja").render(body=Markup(page), name=name)
    return markdown, html, content | {"sources": facts.sources}


def _run(facts: Facts, folder: Path) -> dict[str, Any]:
    """What the card says of one run."""
    record = facts.read(folder / FILE)
    stage = record["command"].removeprefix("python -m ").split()[0]
    pretrained = stage.startswith("pretrain")
    scalars = {key: value for key, value in record.get("metrics", {}).items() if isinstance(value, int | float)}
    return {
        "folder": Path(*folder.parts[-2:]),
        "stage": stage,
        "samples": samples(record) if pretrained else None,
        "held_out": held_out(record) if pretrained else [],
        "command": record["command"],
        "status": record["status"],
        "data": record.get("data") or {},
        "code": record["code"],
        "config": record["config"],
        "config_digest": record["config_digest"][:12],
        "hardware": record["hardware"],
        "packages": record["packages"],
        "seed": record["seed"],
        "seconds": record["seconds"],
        "started": record["started"],
        "metrics": {_TRAINING.get(key, _words(key)): value for key, value in scalars.items()},
        "notes": record.get("notes", {}),
    }


def _words(key: str) -> str:
    return key.replace("train/", "training ").replace("/", " ").replace("_", " ")


def _result(facts: Facts, folder: Path, chain: list[Path]) -> dict[str, Any]:
    """One task's evaluation as tables."""
    evaluation = facts.read(folder / _EVALUATION)
    task: dict[str, Any] = next(
        (facts.read(path / "task.json") for path in chain if (path / "task.json").is_file()), {"name": folder.name}
    )
    data = facts.read(folder / FILE, "data", default={})
    overall, baseline = _metrics(evaluation["overall"]), _metrics(evaluation.get("baseline") or {})
    outcomes = [name for name, value in evaluation.items() if name != "n" and isinstance(value, int | None)]
    return {
        "task": task,
        "data": data,
        "folder": Path(*folder.resolve().parts[-2:]),
        "n": evaluation.get("n"),
        "seen": evaluation.get("seen", ""),
        "held_out": facts.read(folder / FILE, "notes", "held_out", default=True),
        "outcomes": {name: evaluation[name] for name in outcomes},
        "metrics": [
            {"key": key, "name": _metric_name(key), "model": entry, "baseline": baseline.get(key)}
            for key, entry in overall.items()
        ],
        "by_hospital": _table(evaluation.get("by_hospital") or {}, outcomes, list(overall)),
        "by_modality": _table(evaluation.get("by_modality") or {}, outcomes, list(overall)),
    }


def _picture_name(task: str, others: list[dict[str, Any]]) -> str:
    """`evaluation-<task>.png`, numbered where the card holds another evaluation of the same task."""
    stem = "evaluation-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", task)
    taken = {result["picture"] for result in others}
    names = [f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, len(others) + 2))]
    return next(name for name in names if name not in taken)


def _table(groups: dict[str, Any], outcomes: list[str], metrics: list[str]) -> dict[str, Any]:
    """Rows of a subgroup table: label, patients, those by outcome, and each metric that any row has."""
    rows = [(label, group, _metrics(group)) for label, group in groups.items()]
    shown = [key for key in metrics if any(key in values for _, _, values in rows)]
    return {
        "metrics": [_metric_name(key) for key in shown],
        "rows": [
            {
                "label": label,
                "counts": [group.get(name) for name in ("n", *outcomes)],
                "values": [values.get(key) for key in shown],
            }
            for label, group, values in rows
        ],
    }


def _metric_name(key: str) -> str:
    """`auc/mutant` as "AUC, mutant"."""
    name, _, part = key.partition("/")
    return _METRICS.get(name, name) + (f", {part}" if part else "")


def _metrics(group: dict[str, Any]) -> dict[str, Any]:
    """The metrics in a group of an evaluation: those entries that hold a value."""
    inner = group.get("metrics", group)
    return {key: entry for key, entry in inner.items() if isinstance(entry, dict) and "value" in entry}


def _cohorts(runs: Any) -> list[dict[str, Any]]:
    """Each cohort once, with the runs that took it."""
    cohorts: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run["data"].get("digest"):
            cohort = cohorts.setdefault(run["data"]["digest"], {**run["data"], "used_by": []})
            cohort["used_by"].append(run["stage"])
    return list(cohorts.values())


def _modalities(facts: Facts, runs: dict[Path, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the encoder takes and patients trained, from the encoder folder of the first run that has one."""
    trained = taught(facts.read(folder / FILE) for folder in runs)
    for folder in runs:
        path = folder / "encoder" / "config.json"
        if path.is_file():
            modalities: dict[str, Any] = facts.read(path, "modalities")
            return [
                {"name": name, "type": entry["type"].rpartition(".")[2], "settings": entry["settings"]}
                for name, entry in modalities.items()
                if name in trained
            ]
    return []


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("serve", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: bool(name and name.endswith(".html.jinja")),
    )
    templates.filters.update(show=show, duration=duration, interval=interval, cell=cell, setting=setting)
    templates.filters["quoted"] = functools.partial(json.dumps, ensure_ascii=False)  # YAML reads JSON's strings
    return templates


def _source(templates: Environment, name: str) -> str:
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0]


if __name__ == "__main__":
    main()
