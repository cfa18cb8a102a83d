"""Chains of runs as the commands write them, small and of several kinds, for cards to be made of."""

from pathlib import Path
from typing import Any

import pandas as pd

from foundation.files import write_bytes, write_json
from foundation.lineage import site_list
from foundation.run_record import RunRecord
from serve import manifest

HOSPITALS = ["alder", "bir|ch", "cedar_7"]
COHORT = {"name": "demo", "digest": "c0ffee" * 10, "synthetic": True, "hospitals": HOSPITALS}
HELD_OUT = {"patients": 59.0, "loss": 1.2345, "report_to_record/r@5": 0.4321, "report_to_record/chance@5": 0.0877}
TRAINED = {"patients": 9.0, "loss": 2.3456, "report_to_record/r@5": 0.9876, "report_to_record/chance@5": 0.5555}
SAMPLES = {"report": 321, "fusion": 321, "objective:alignment": 321}
ALIKE = {"age": {"value": 61.5, "low": 50.25, "high": 70.0, "n": 60}, "sex": {"F": 31, "M": 29}}
RULES = [{"rule": "profiles converted from tpm to log2_tpm", "count": 52, "field": ""}]
HIDDEN = {"sex": {"F": 91, "M": None}}
PRIVACY = {"level": "site", "epsilon": 7.125, "delta": 1e-05, "releases": 4, "assumptions": ["a trusted server"]}
CURVES: dict[str, Any] = {
    "classification": {
        "calibration": {"predicted": [0.125, 0.875, None], "observed": [0.0625, 0.75, None], "patients": [31, 26, 0]},
        "decision": {
            "threshold": [at / 100 for at in range(1, 100)],
            "net_benefit": [0.4 - at / 250 for at in range(1, 100)],
            "treat_all": [0.4 - at / 50 for at in range(1, 99)] + [None],
        },
    },
    "survival": {
        "kaplan_meier": [
            {"group": 0, "days": [0.0, 400.0, 800.0], "survival": [1.0, 0.9375, 0.8125], "at_risk": [29, 23, 11]},
            {"group": 1, "days": [0.0, 300.0, 700.0], "survival": [1.0, 0.5625, None], "at_risk": [28, 17, 0]},
        ]
    },
}
METRICS = {"classification": ["auc", "ece"], "survival": ["c_index", "auc/365_days"]}


def chain(
    root: Path,
    kind: str = "classification",
    federated: bool = True,
    results: bool = True,
    at_held_out: dict[str, float] = HELD_OUT,
    privacy: dict[str, Any] | None = None,
    synthetic: bool = True,
    seen: str = "",
) -> Path:
    """A cohort, pretraining, a head, its evaluation and its export; the evaluation's folder."""
    cohort = COHORT | {"synthetic": synthetic}
    prepare(root / "cohort", cohort)
    pretrain(root / "pretrain", federated, at_held_out, privacy, cohort)
    finetune(root / "finetune", kind, cohort)
    evaluate(root / "evaluation", kind, results, seen, cohort)
    with RunRecord.open(root / "export", "python -m serve.export", {}, 0, [root / "finetune"], cohort) as record:
        record.note("model", {"name": "demo-biomarker", "version": "90b0751597d1"})
    for folder in (root / "finetune", root / "export" / "bundle" / "model"):
        write_bytes(folder / "head.safetensors", b"weights")
    manifest.write(root / "export" / "bundle")
    return root / "evaluation"


def prepare(folder: Path, cohort: dict[str, Any]) -> None:
    counts = {"alder": {"patients": 66, "report": 51}, "bir|ch": {"patients": 56, "report": 0}}
    with RunRecord.open(folder, "python -m foundation.data prepare", {}, 0, [], cohort) as record:
        record.note("characteristics", {"hospitals": dict.fromkeys(HOSPITALS, ALIKE), "all": ALIKE | HIDDEN})
        record.note("found", counts | {"cedar_7": {"patients": 57, "report": 47}})
    flow = [{"step": "rows of the patients' tables", "patients": 183}, {"step": "with any modality", "patients": 179}]
    columns = [{"name": "age", "kind": "continuous"}, {"name": "sex", "kind": "categorical"}]
    content = {"description": "Made for tests, 3 hospitals."}
    write_json(folder / "cohort.json", content | {"flow": flow, "provenance": RULES, "dictionary": {"record": columns}})


def pretrain(
    folder: Path, federated: bool, at_held_out: dict[str, float], privacy: dict[str, Any] | None, cohort: dict[str, Any]
) -> None:
    config = {"rounds": 2, "steps_per_round": 8, "data": {"test_hospitals": ["cedar_7"]}}
    config["strategy"] = {"_target_": "foundation.federation.strategies.averaging.FedAvg", "local": []}
    command = "python -m pretrain.federated" if federated else "python -m pretrain"
    with RunRecord.open(folder, command, config, 0, [folder.parent / "cohort"], cohort) as record:
        if federated:
            record.metrics["evaluation"] = {"alder": TRAINED, "cedar_7": at_held_out}
            record.note("samples", {"alder": SAMPLES, "bir|ch": {"record": 123}})
            record.note("coverage", {"report": {"alder": 1.0}, "record": {"alder": 0.25, "bir|ch": 0.75}})
            record.note("privacy", privacy)
            record.note("trained_on", {"hospitals": ["alder", "bir|ch"], "run": "one"})
        else:
            record.metrics |= {"train/loss_epoch": 2.3456, "train/alignment": 1.8765, "held_out": at_held_out}
            record.note("samples", SAMPLES)
            record.note(
                "trained_on", {"hospitals": ["alder"], "patients": {"train": 77, "validation": 13}, "digest": ""}
            )
    if federated:
        history(folder)
    settings = {"width": 96, "dropout": 0.25, "drop_rate": 0.0}
    modalities = {"report": {"type": "foundation.modalities.report.encoder.Report", "settings": settings}}
    write_json(folder / "encoder" / "config.json", {"modalities": modalities})


def history(folder: Path) -> None:
    """Two rounds, of which one hospital misses the second; lists of persons at one hospital alone."""
    one = {"bytes": {"from_site": 1000, "to_site": 9}, "samples": SAMPLES}
    rounds = [{"round": 1, "training": {"alder": one, "bir|ch": one}}, {"round": 2, "training": {"alder": one}}]
    write_json(folder / "history.json", {"rounds": rounds})
    persons = {"train": [f"A{number}" for number in range(41)], "validation": ["A98", "A99"], "hospitals": ["alder"]}
    write_json(site_list(folder / "sites" / "alder", "one"), persons)
    for home, entries in ((folder, 99), (folder / "sites" / "alder", 34)):
        write_json(home / "ledger.jsonl.head", {"entries": entries, "hash": f"{entries:02d}" * 32})


def finetune(folder: Path, kind: str, cohort: dict[str, Any]) -> None:
    parents = [folder.parent / "pretrain", folder.parent / "cohort"]
    with RunRecord.open(folder, "python -m finetune", {"steps": 4}, 0, parents, cohort) as record:
        record.metrics["validation/loss"] = 0.321
        record.note("outcomes", {"train": {"events": 39}})
        record.note("trained_on", {"hospitals": ["alder"], "patients": {"train": 91, "validation": 17}, "digest": ""})
    head = {"survival": {"event": "os_event", "horizons": [365, 1095]}}.get(kind, {"target": "biomarker"})
    write_json(folder / "task.json", {"name": "biomarker", "kind": kind, "head": {"settings": head}})
    split = {"train": ["A1", "A2", "A3"], "validation": ["A4", "A5"], "test": ["C1"]}
    write_json(folder / "split.json", {"cohort_digest": cohort["digest"], **split})


def figure(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def evaluate(folder: Path, kind: str, results: bool, seen: str, cohort: dict[str, Any]) -> None:
    first, second = METRICS[kind]
    value, other = figure(0.8642, 0.7931, 0.9287), figure(0.0411)
    undefined = figure(None) | {"reason": "4 patients, of 10 that it takes"}
    group = {"n": 57, "events": 21, first: value}
    content: dict[str, Any] = {
        **({"seen": seen} if seen else {}),
        "overall": {first: value, second: other},
        "new_hospital": {first: figure(0.8642, 0.7012, 0.9534), second: undefined},
        "baseline": {"inputs": ["age", "sex"], first: figure(0.5512, 0.4501, 0.6509)},
        "by_hospital": {"cedar_7": group},
        "by_modality": {"all": group, "report alone": {"n": 47, "events": 19, first: figure(0.8123, 0.7, 0.9)}},
        "by_group": {
            "sex": {"F": {"n": 31, "events": 11, first: figure(0.8811, 0.78, 0.97)}, "M": {"n": 4, first: undefined}},
            "has": {
                "report": {"n": 47, "events": 19, first: figure(0.8123, 0.7, 0.9)},
                "record": {"n": 4, first: undefined},
            },
        },
        "gaps": {"sex": {"best": "F", "worst": "M", "n": 57, first: figure(0.0711, -0.03, 0.17)}},
        "baselines": {
            "ridge on report": {
                "n": 47,
                first: figure(0.77, 0.66, 0.88),
                "model": {first: figure(0.81, 0.7, 0.9)},
                "gain": {first: figure(0.04, -0.02, 0.1)},
            }
        },
        "controls": {
            "hospital from report": {"value": 0.61, "chance": 0.5, "n": 102},
            "shuffled pairs": {"n": 57, "events": 21, first: figure(0.5)},
        },
        "n": 57,
        "events": 21,
    }
    notes = {"seen": seen, "held_out": False} if seen else {}
    with RunRecord.open(folder, "python -m finetune.evaluate", {}, 0, [folder.parent / "finetune"], cohort) as record:
        for key, note in notes.items():
            record.note(key, note)
    write_json(folder / "evaluation.json", content, sort_keys=False)
    if results:
        write_json(
            folder / "results.json", {"task": "biomarker", "figures": rows(content, first), "curves": CURVES[kind]}
        )
    (folder / "evaluation.png").write_bytes(b"picture")
    if kind == "classification":
        predictions().to_parquet(folder / "predictions.parquet")


def predictions() -> pd.DataFrame:
    """Two missed patients, one of them while the model was sure, one false alarm, and one whose label is unknown."""
    labels, says = [1, 1, 1, 0, 0, None], [1, 0, 0, 0, 1, 1]
    chances = [0.9375, 0.0625, 0.375, 0.25, 0.625, 0.75]
    rows = {"patient": [f"C{at}" for at in range(6)], "hospital": "cedar_7", "split": "test", "subset": "all"}
    return pd.DataFrame({**rows, "output": "positive", "label": labels, "prediction": says, "probability": chances})


def trial(folder: Path, model: Path, figures: list[dict[str, Any]] | None = None) -> Path:
    """A run that made further use of a model, as a page of `finetune` leaves it."""
    facts = {"n": 57, "outcomes": {"events": 21}, "estimator": "hazard ratio, Cox", "interval": "95 %, normal"}
    facts |= {"replicates": 500, "reason": None, "source": "finetune", "split": "test", "seed": 0}
    rows = [
        {"id": "adjustment/saving", **figure(0.435, 0.327, 0.532), **facts},
        {"id": "adjustment/patients/365_days", **figure(333.0), **facts},
    ]
    with RunRecord.open(folder, "python -m finetune.trial", {}, 0, [model], COHORT) as record:
        record.note("page", "index.html")
    write_json(folder / "results.json", {"format": 1, "title": "A planned trial", "figures": figures or rows})
    return folder


def rows(content: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """What `results.json` adds to some figures."""
    new = content["new_hospital"][metric] | {"interval": "95 % percentile, hospital bootstrap"}
    facts = {"estimator": "rank, ties half", "split": "test", "interval": "95 % percentile, patient bootstrap"}
    figures = {
        "model/all/all/all": content["overall"][metric],
        "model/all/hospital/cedar_7": content["by_hospital"]["cedar_7"][metric],
        "model/all/sex/F": content["by_group"]["sex"]["F"][metric],
        "age and sex/all/all/all": content["baseline"][metric],
    }
    return [
        {"id": f"biomarker/{name}/{metric}", "n": 57, **value, **facts, "new_hospital": new}
        for name, value in figures.items()
    ]
