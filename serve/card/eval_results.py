"""Results as Hugging Face reads them beside a model: `.eval_results/<task>.yaml`, a file an evaluated task.

Source: huggingface/hub-docs, eval_results.yaml. An entry holds a value, its data set, and its interval in words, for
the format has no place for one. The data set is the cohort by its name: the Hub links those that it knows as
benchmarks, and shows the others without a link.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from serve.card.chain import Evaluation, Evidence
from serve.card.content.results import held_out, task_name
from serve.card.content.tables import Figures, metrics
from serve.card.graph import Node

FOLDER = ".eval_results"
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]+")
_KNOWN = {"dataset", "value", "date", "notes"}
_OF_DATASET = {"id", "task_id"}


def eval_results(evidence: Evidence) -> dict[str, str]:
    """By path beside the card, the YAML of each evaluation that has a figure; the same records give the same bytes."""
    files: dict[str, str] = {}
    for evaluation in evidence.evaluations:
        entries = [_entry(evidence, evaluation, *pair) for pair in _figures(evidence, evaluation)]
        if entries:
            stem = slug(task_name(evidence, evaluation).text)
            numbered = (
                f"{FOLDER}/{name}.yaml" for name in (stem, *(f"{stem}-{at}" for at in range(2, len(files) + 3)))
            )
            path = next(name for name in numbered if name not in files)
            files[path] = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return files


def slug(words: str) -> str:
    """A name of letters, digits and hyphens, as the Hub's names are."""
    return _FOREIGN.sub("-", words).strip("-_") or "task"


def _figures(evidence: Evidence, evaluation: Evaluation) -> Iterator[tuple[str, Node]]:
    """Main figures of the model that are defined, by metric."""
    figures = Figures(evidence, evaluation)
    for metric, path in metrics(evaluation.file.at("overall")).items():
        node = figures.figure(("overall", *path), ("model", "all", "all", "all", metric))
        if node.value is not None:
            yield metric, node


def _entry(evidence: Evidence, evaluation: Evaluation, metric: str, node: Node) -> EvalResultEntry:
    run = evaluation.run
    return EvalResultEntry(
        dataset_id=slug(str(run.file.at("data", "name", default="cohort"))),
        task_id=slug(f"{task_name(evidence, evaluation).text}-{metric}"),
        value=node.value,
        date=str(run.record["started"]),
        notes="; ".join(_notes(evaluation, node)),
    )


def _notes(evaluation: Evaluation, node: Node) -> Iterator[str]:
    yield "held-out test patients" if held_out(evaluation) else "patients seen in training"
    if evaluation.run.file.at("data", "synthetic"):
        yield "synthetic patients"
    if node.n is not None:
        yield f"n = {node.n}"
    if node.low is not None and node.high is not None:
        yield f"{node.interval or 'interval'}: {node.low} to {node.high}"
    if node.estimator:
        yield node.estimator


def clear(folder: Path) -> None:
    """Removes the results of an earlier card."""
    for path in (folder / FOLDER).glob("*.yaml"):
        path.unlink()


def problems(folder: Path, expected: Mapping[str, str]) -> Iterator[str]:
    """Files of results that are no results, or that no evaluation of the card gives.

    Args:
        folder: of the card.
        expected: paths that its evaluations give.
    """
    there = sorted((folder / FOLDER).glob("*")) if (folder / FOLDER).is_dir() else []
    for path in there:
        name = f"{FOLDER}/{path.name}"
        if name not in expected:
            yield f"{name}: results of no evaluation of this card; remove it"
            continue
        yield from (f"{name}: {problem}" for problem in invalid(path.read_text(encoding="utf-8", errors="replace")))


def invalid(text: str) -> Iterator[str]:
    """What the Hub's form refuses in a file of results."""
    try:
        rows: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        yield "no YAML"
        return
    if not isinstance(rows, list) or not rows or not all(map(_is_entry, rows)):
        yield "no list of results, each with its dataset (id, task_id) and value"
        return
    for entry in parse_eval_result_entries(rows):
        try:
            validate_repo_id(entry.dataset_id)
        except HFValidationError:
            yield f"dataset id '{entry.dataset_id}' is no name that the Hub allows"


def _is_entry(row: Any) -> bool:
    formed = isinstance(row, dict) and {"dataset", "value"} <= row.keys() <= _KNOWN and isinstance(row["dataset"], dict)
    numbered = formed and isinstance(row["value"], int | float) and not isinstance(row["value"], bool)
    return (
        numbered
        and row["dataset"].keys() == _OF_DATASET
        and all(isinstance(one, str) for one in row["dataset"].values())
    )
