"""`python -m finetune.federated.evaluate`: a task model across hospitals, in one exchange of tables."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Read by Flower when it is first imported, so it is said before.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from foundation.command import command, plain
from foundation.data.packages import paths_of
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_text
from foundation.lineage import NOTE, said_first
from foundation.run_output import claim
from foundation.run_record import RunRecord, read_run

_COMMAND = "python -m finetune.federated.evaluate"
_OF_RUN = ("folds", "fold", "stratify", "split_file", "validation_fraction", "split_seed")
_PARTS = ("test", "validation", "train")


@command("evaluate_federated", loads="torch, flwr", fills=["data.test_hospitals"])
def main(cfg: DictConfig) -> None:
    """Writes evaluation.json and evaluation.md; labels and predictions stay at the hospitals."""
    settle(cfg)
    evaluate(cfg)


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """The figures of a settled config's model, written and shown."""
    from finetune.federated.evaluation import FOLDER, Evaluating
    from finetune.federated.parcel import packed, to_question
    from finetune.federated.tables import empty_tables, to_arrays
    from finetune.predictor import TaskModel
    from foundation.arrays import write_arrays
    from foundation.federation.runtime.operator import CohortFacts

    run, output = Path(cfg.run), Path(cfg.output)
    claim(output, _COMMAND, plain(cfg))
    held_out = list(cfg.data.test_hospitals) if cfg.part == "test" else []
    words = said_first([run], None, held_out, cfg.allow_seen)
    if words:
        print(words)
    model, task = TaskModel.load(run), Evaluating(cfg)
    cohort = CohortFacts.read(Path(cfg.data.folder))
    cohort.check_name(cfg.cohort.name)
    _check_baselines(cfg.baselines, {*paths_of("encoder"), *model.encoder.modalities})
    declared = empty_tables(model, task.plan(model))
    write_arrays(output / FOLDER / "question.safetensors", to_question(packed(run)))
    shapes = {name: list(value.shape) for name, value in to_arrays(declared).items()}
    write_json(output / FOLDER / "shapes.json", shapes, sort_keys=False)
    baselines = declare_baselines(cfg, model, task.declared(model))
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, [run], cohort.facts()) as record:
        answer = exchange(cfg)
        result = {**({"seen": words} if words else {}), **read_result(cfg, model, declared, baselines)}
        write_json(output / "evaluation.json", result, sort_keys=False)
        write_text(output / "evaluation.md", as_markdown(cfg, model.task["name"], result))
        record.note("absent", answer["absent"])
        record.metrics.update({name: figure["value"] for name, figure in result["overall"].items()})
    name = model.head.statistics().primary
    print(f"{name}: {_words(result['overall'][name])}\nevaluation: {output / 'evaluation.md'}")
    return result


def settle(cfg: DictConfig) -> None:
    """Fills in what follows from the run: its split, its hospitals, and those that it did not know.

    Raises:
        UserError: if a setting cannot be, or the run trained at a hospital that is to be held out.
    """
    if cfg.part not in _PARTS:
        raise UserError(f"part: found {cfg.part!r}; choose from {', '.join(_PARTS)}")
    record = read_run(Path(cfg.run))
    before = record["config"]["data"]
    for name in _OF_RUN:
        OmegaConf.update(cfg, f"data.{name}", before[name])
    known = [str(name) for name in record["data"]["hospitals"]]
    if cfg.sites is None:
        OmegaConf.update(cfg, "sites", known)
    held_out = [str(name) for name in before["test_hospitals"]]
    if cfg.data.test_hospitals is None:
        trained = [str(name) for name in record.get("notes", {}).get(NOTE, {}).get("hospitals", known)]
        strangers = [name for name in cfg.sites if name not in trained and name not in held_out]
        deals = cfg.data.folds or cfg.data.split_file  # then the split itself says who is tested
        OmegaConf.update(cfg, "data.test_hospitals", [] if deals else [*held_out, *strangers])
    modalities = read_json(Path(cfg.run) / "task.json", "give the output folder of python -m finetune")["modalities"]
    if cfg.data.modalities not in (None, modalities):
        asked = ", ".join(map(str, cfg.data.modalities))
        raise UserError(f"data.modalities: the model looks at {', '.join(modalities)}, not at {asked}; leave it out")
    OmegaConf.update(cfg, "data.modalities", modalities)


def _check_baselines(names: Iterable[str] | None, known: Collection[str]) -> None:
    """Refuses a misspelt modality: a baseline that nobody fits looks as if nothing beat the model.

    Raises:
        UserError: naming it.
    """
    for name in names or ():
        if name not in known:
            raise UserError(
                f"baselines: '{name}' is no modality; name some of {', '.join(sorted(known))}, or null for no baseline"
            )


def exchange(cfg: DictConfig) -> dict[str, Any]:
    """Runs the one exchange on the engine that the config names; who answered, and who did not and why."""
    from finetune.federated.evaluation import FOLDER
    from foundation.federation.policy.order import config_digest
    from foundation.federation.runtime.run import run
    from foundation.federation.server.checkpoints import Checkpoints

    output = Path(cfg.output)
    checkpoints = Checkpoints(output, config_digest(plain(cfg)))
    checkpoints.begin({})
    run(cfg, checkpoints)
    return read_json(output / FOLDER / "answer.json", "evaluate again", "sites", "absent")


def declare_baselines(cfg: DictConfig, model: Any, declared: Any) -> Any:
    """Writes what sites are asked for baselines; which there are, or None where none can be.

    Baselines learn from train patients, so they are beside test patients alone, where a hospital trains.
    """
    from finetune.federated.designs import fit_name
    from finetune.federated.evaluation import FOLDER
    from finetune.federated.parcel import digest_of_files, packed
    from finetune.federated.tables import to_arrays

    training = [name for name in cfg.sites if name not in cfg.data.test_hospitals]
    if declared is None or cfg.part != "test" or not training:
        return None
    widths = {
        fit_name(place, output): design.shape[1]
        for place, design in declared.nobody(model).items()
        for output in range(declared.outputs)
    }
    tables = to_arrays(declared.empty(model, cfg.replicates))
    content = {
        "hazards": declared.hazards,
        "times": declared.times.values.tolist(),
        "widths": widths,
        "model": digest_of_files(packed(Path(cfg.run))),
        "tables": {name: list(value.shape) for name, value in tables.items()},
    }
    write_json(Path(cfg.output) / FOLDER / "baselines.json", content, sort_keys=False)
    return declared


def read_result(cfg: DictConfig, model: Any, declared: Any, baselines: Any) -> dict[str, Any]:
    """The figures of what came back."""
    from finetune.federated.evaluation import FOLDER
    from finetune.federated.figures import ALL, figures, reliability
    from finetune.federated.tables import from_arrays
    from foundation.arrays import read_arrays
    from foundation.statistics.figure import Support

    folder = Path(cfg.output) / FOLDER
    answer = read_json(folder / "answer.json", "evaluate again", "sites", "absent")
    if answer["baselines"]:
        declared = declared | baselines.empty(model, cfg.replicates)
    total = from_arrays(read_arrays(folder / "total.safetensors", "evaluate again"), declared)
    beside = {name: total.pop(name) for name in list(total) if answer["baselines"] and name in baselines.groups}
    paths = [folder / "sites" / f"{site}.safetensors" for site in cfg.sites]
    everybody = {ALL: declared[ALL]}  # of a hospital, subgroups are not shown: each costs as much as everybody
    by_site = {
        path.name.removesuffix(".safetensors"): from_arrays(read_arrays(path, "evaluate again"), everybody)
        for path in paths
        if path.is_file()
    }
    statistics = model.head.statistics()
    result = figures(statistics, total, by_site, cfg.hospital_replicates, cfg.seed, Support())
    if model.reliability is not None:
        result["reliability"] = reliability(model.reliability.coverage, total, by_site, Support())
    if beside:
        result["baselines"] = baselines.rows(model, beside, Support())
    elif answer["no_baselines"]:
        result["no_baselines"] = answer["no_baselines"]
    return {"sites": answer["sites"], "absent": answer["absent"], "masked": cfg.get("secure") is not None, **result}


def as_markdown(cfg: DictConfig, task: str, result: dict[str, Any]) -> str:
    """The figures as a page."""
    from finetune.baselines.comparison import beaten_words

    hidden = "the server saw sums over them alone" if result["masked"] else "the server saw each one's tables"
    absent = [f"{site} did not answer ({why})." for site, why in result["absent"].items()]
    lost = beaten_words(result.get("baselines", {}), next(iter(result["overall"])))
    if "no_baselines" in result:
        absent.append(f"No baseline stands beside it ({result['no_baselines']}).")
    lines = [
        *([f"**{lost}**", ""] if lost else []),
        *([f"> **{result['seen']}**", ""] if "seen" in result else []),
        f"# {task} across hospitals",
        "",
        " ".join(
            [
                f"{cfg.part.capitalize()} patients of {', '.join(result['sites'])}; {hidden}.",
                f"Intervals: {cfg.replicates} replicates of the patients, seed {cfg.seed}.",
                *absent,
            ]
        ),
        "",
        "| | patients | measure | value | estimator |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows: dict[str, dict[str, Any]] = {"all": result["overall"]}
    if "new_hospital" in result:
        rows["a new hospital"] = result["new_hospital"]
    lines += [_row(label, name, figure) for label, part in rows.items() for name, figure in part.items()]
    for name, figure in result.get("reliability", {}).get("overall", {}).items():
        lines += [_row("reliability", name, figure)] if name != "n" else []
    for label, row in result.get("baselines", {}).items():
        lines += [_plain(f"baseline: {label}", row), _plain(f"gain over {label}", row["gain"] | {"n": row["n"]})]
    smaller = {f"hospital {name}": part for name, part in result["by_hospital"].items()} | result["groups"]
    for label, part in smaller.items():
        name = next(iter(part))
        lines.append(_row(label, name, part[name]))
    return "\n".join(lines) + "\n"


def _row(label: str, name: str, figure: dict[str, Any]) -> str:
    return f"| {label} | {figure['n']} | {name} | {_words(figure)} | {figure['estimator']} |"


def _plain(label: str, row: dict[str, Any]) -> str:
    """A line of a baseline, or of the model's gain over it on the same patients."""
    name = next(key for key, value in row.items() if isinstance(value, dict) and "value" in value)
    figure = {"reason": None, **row[name]}
    return f"| {label} | {row['n']} | {name} | {_words(figure)} | on the same patients |"


def _words(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return f"not told: {figure['reason']}"
    if figure["low"] is None:
        return f"{figure['value']:.3f} (no interval{': ' + figure['reason'] if figure['reason'] else ''})"
    return f"{figure['value']:.3f} ({figure['low']:.3f} – {figure['high']:.3f})"


if __name__ == "__main__":
    main()
