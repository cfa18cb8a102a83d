"""`python -m finetune.crossvalidate`: a head on every fold, and one table of all beside the baselines."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Column, Table

from foundation.command import command, plain
from foundation.files import write_json, write_text
from foundation.lineage import SEEN, said_first
from foundation.run_output import claim, folder_digest
from foundation.run_record import RunRecord

_COMMAND = "python -m finetune.crossvalidate"


@command("crossvalidate", loads="torch, pytorch_lightning, timm, transformers")
def main(cfg: DictConfig) -> None:
    """Writes crossvalidation.json, crossvalidation.md and predictions.parquet."""
    from finetune.aligned import check_aligned
    from finetune.assemble import blocks_of, build_head, check_vocabulary, encoder_folder, task_modalities
    from finetune.crossvalidation import CrossValidation
    from finetune.folds import cross_validation
    from foundation.data.cohort import Cohort
    from foundation.encoder import MultimodalEncoder

    output = Path(cfg.output)
    folder, pretraining = encoder_folder(Path(cfg.pretrained))
    encoder = MultimodalEncoder.from_pretrained(folder)
    cohort = Cohort(Path(cfg.data.folder))
    cohort.check_name(cfg.cohort.name)
    check_vocabulary(encoder, cohort)
    depends_on = {"cohort": cohort.digest, "encoder": folder_digest(folder)}
    claim(output, _COMMAND, plain(cfg), depends_on)
    modalities = task_modalities(cfg.task, encoder)
    head = build_head(cfg.task, encoder.width, blocks_of(cfg, encoder, modalities))
    if head.reads_aligned:
        check_aligned(pretraining, modalities)
    folds = cross_validation(cohort, cfg, head)
    tested = cohort.patients.loc[sorted({patient for _, fold in folds for patient in fold.test}), "hospital"].to_dict()
    held_out = [name for name, _ in folds] if cfg.by == "hospital" else []
    words = said_first(pretraining, tested, held_out, cfg.allow_seen)
    if not pretraining:
        words = f"Who trained the encoder is not known: {folder} has no run record."
    if words:
        print(words)
    parents = [*pretraining, cohort.folder]
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, parents, cohort.facts(), depends_on) as record:
        validation = CrossValidation(cfg, folder, cohort, modalities)
        for number, (name, fold) in enumerate(folds):
            print(f"fold {number + 1} of {len(folds)}: {name}, {len(fold.test)} patients to test", flush=True)
            validation.add(number, name, fold)
        result = {**({"seen": words} if words else {}), **validation.result()}
        if words:
            record.note("seen", words)
            record.note("held_out", not words.startswith(SEEN))
        write_json(output / "crossvalidation.json", result, sort_keys=False)
        write_text(output / "crossvalidation.md", as_markdown(result, cfg.task.name, cohort.name))
        validation.predictions().to_parquet(output / "predictions.parquet", index=False)
        record.metrics.update({name: interval["value"] for name, interval in result["overall"].items()})
    _print(result)
    print(f"cross-validation: {output / 'crossvalidation.md'}\npredictions: {output / 'predictions.parquet'}")


def as_markdown(result: dict[str, Any], task: str, cohort: str) -> str:
    """The table as a page of Markdown."""
    metric = result["metric"]
    first = [line for name in ("seen", "beaten") if result.get(name) for line in (f"> **{result[name]}**", "")]
    lines = [
        *first,
        f"# {task} on {cohort}, cross-validated",
        "",
        f"{result['n']} patients tested in {len(result['folds'])} folds, each by a head fitted without it. "
        f"A fold's interval and that of all: 95 %, bootstrap of patients. Mean: of folds where {metric} is defined.",
        "",
        f"| | patients | {metric} |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in _rows(result))]) + "\n"


def _rows(result: dict[str, Any]) -> list[list[str]]:
    metric = result["metric"]
    rows = [[fold["name"], str(fold["n"]), _interval(fold[metric])] for fold in result["folds"]]
    rows.append(["all folds together", str(result["n"]), _interval(result["overall"][metric])])
    mean = result["mean"]
    if mean["value"] is not None:
        spread = "SD not defined" if mean["sd"] is None else f"{mean['sd']:.3f}"
        rows.append([f"mean (SD) of {mean['folds']} folds", "", f"{mean['value']:.3f} ({spread})"])
    for name, row in result["baselines"].items():
        rows.append([f"baseline: {name}", str(row["n"]), _interval(row[metric])])
        rows.append([f"the model beside {name}", str(row["n"]), _interval(row["model"][metric])])
    return rows


def _interval(interval: dict[str, Any]) -> str:
    if interval["value"] is None:
        return f"not defined ({interval.get('reason', 'one of the two is not')})"
    if interval["low"] is None:
        return f"{interval['value']:.3f}, without interval"
    return f"{interval['value']:.3f} ({interval['low']:.3f} – {interval['high']:.3f})"


def _print(result: dict[str, Any]) -> None:
    if result["beaten"]:
        print(result["beaten"])
    table = Table(Column(overflow="fold"), "patients", result["metric"], title="Cross-validated, 95 % intervals")
    for row in _rows(result):
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
