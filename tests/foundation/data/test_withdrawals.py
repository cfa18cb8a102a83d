"""What learned from patients who left: named with all that was built on it, and with the files that still name them."""

import html
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from foundation.data.cohort import Cohort
from foundation.data.pack import pack
from foundation.data.withdrawals import (
    affected_by_withdrawal,
    as_text,
    blind_lists,
    blind_query_sets,
    remove_caches,
    to_json,
)
from foundation.errors import UserError
from foundation.files import write_json
from foundation.lineage import note_of, seen_by, site_list, trained_on
from foundation.patient_list import write_patients
from foundation.query_sets import QuerySet
from foundation.run_record import RunRecord

DATA = {"name": "own", "digest": "0", "synthetic": True, "hospitals": ["alpha"]}


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """P1 to P3; P8 and P9 have left."""
    (tmp_path / "sites/alpha").mkdir(parents=True)
    (tmp_path / "sites/alpha/patients.csv").write_text("patient_id,idh\nP1,1\nP2,0\nP3,1\n")
    declared = {"name": "own", "synthetic": True, "description": "Made by a test.", "hospitals": ["alpha"]}
    (tmp_path / "sites/cohort.yaml").write_text(yaml.safe_dump({**declared, "dictionary": {"labels": ["idh"]}}))
    pack(tmp_path / "sites", tmp_path / "out")
    return Cohort(tmp_path / "out")


def run(
    folder: Path, command: str, patients: list[str] | None, builds_on: list[Path] | None = None, name: str = "own"
) -> Path:
    with RunRecord.open(folder, command, {}, 0, builds_on or [], {**DATA, "name": name}) as record:
        if patients is not None:
            record.note("trained_on", note_of(folder, patients[1:], patients[:1], ["alpha"]))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    encoder = run(root / "encoder", "python -m pretrain", ["P1", "P8", "P9"])
    other = run(root / "other", "python -m pretrain", ["P1", "P2"])
    head = run(root / "head", "python -m finetune", ["P1", "P2"], [encoder])
    run(root / "kept", "python -m finetune", ["P1", "P3"], [other])
    run(root / "export", "python -m serve.export", None, [head])
    run(root / "elsewhere", "python -m pretrain", ["P8", "Q1"], name="another cohort")
    write_json(head / "embeddings/x/rows.json", {"rows": [["P9", ["report"]], ["P1", ["report"]]]})
    pd.DataFrame({"patient": ["P1", "P8"]}).to_parquet(root / "kept/predictions.parquet")
    federated = run(root / "federated", "python -m pretrain.federated", None)
    write_patients(site_list(federated / "sites/alpha", "some run"), ["P8"], ["P1"], ["alpha"])
    return root


def test_runs_are_named_with_all_that_was_built_on_them(cohort: Cohort, runs: Path) -> None:
    count, affected = affected_by_withdrawal(cohort, [runs])
    assert count == 2
    assert {one.run.name: (one.patients, [path.name for path in one.through]) for one in affected} == {
        "encoder": (2, []),
        "export": (0, ["head"]),
        "federated": (1, []),
        "head": (0, ["encoder"]),
        "kept": (0, []),
    }
    assert {one.run.name: sorted(path.name for path in one.files) for one in affected if one.files} == {
        "encoder": ["trained_on.json"],
        "federated": [site_list(Path(), "some run").name],
        "head": ["rows.json"],
        "kept": ["predictions.parquet"],
    }


def test_caches_of_embeddings_and_features_are_removed_and_nothing_else(cohort: Cohort, runs: Path) -> None:
    caches = {runs / "head/embeddings/x/rows.json", runs / "head/embeddings/record-1/patients.json"}
    features = runs / "head/embeddings/record-1/patients.json"
    features.parent.mkdir(parents=True)
    features.write_text(json.dumps({"patients": ["P1", "P9"]}))
    before = {path for path in runs.rglob("*") if path.is_file()}
    removed = remove_caches(affected_by_withdrawal(cohort, [runs])[1])
    assert set(removed) == {path.parent.resolve() for path in caches}
    assert before - {path for path in runs.rglob("*") if path.is_file()} == caches


def test_no_patient_is_named_in_what_is_said(cohort: Cohort, runs: Path) -> None:
    count, affected = affected_by_withdrawal(cohort, [runs])
    for text in (as_text(count, affected), to_json(count, affected)):
        assert "P8" not in text and "P9" not in text
    assert "2 patients of the runs' lists are no longer in the cohort" in as_text(count, affected)


def test_nothing_is_named_where_nobody_left(cohort: Cohort, tmp_path: Path) -> None:
    run(tmp_path / "some/encoder", "python -m pretrain", ["P1", "P2"])
    assert affected_by_withdrawal(cohort, [tmp_path / "some"]) == (0, [])


@pytest.mark.parametrize("patient", ["Pat 9", "Müller-1", "TCGA|01", "P(3)", "a&b", r"a\b"])
def test_an_id_of_several_words_or_one_that_is_escaped_is_seen_in_texts(
    patient: str, cohort: Cohort, tmp_path: Path
) -> None:
    head = run(tmp_path / "runs/head", "python -m finetune", ["P1", patient])
    write_json(head / "embeddings/x/rows.json", {"rows": [[patient, ["report"]], ["P1", ["report"]]]})
    write_json(head / "embeddings/y/rows.json", {"rows": [[f"{patient}1", ["report"]], ["P1", ["report"]]]})
    (head / "page.html").write_text(f"<td>{html.escape(patient)}</td>")
    count, affected = affected_by_withdrawal(cohort, [tmp_path / "runs"])
    names = [path.relative_to(head.resolve()).as_posix() for path in affected[0].files]
    assert (count, names) == (1, ["embeddings/x/rows.json", "page.html", "trained_on.json"])


def test_a_patient_of_an_evaluation_alone_is_named(cohort: Cohort, tmp_path: Path) -> None:
    evaluation = run(tmp_path / "runs/evaluation", "python -m finetune.evaluate", None)
    pd.DataFrame({"patient": ["P1", "P8"]}).to_parquet(evaluation / "predictions.parquet")
    count, affected = affected_by_withdrawal(cohort, [tmp_path / "runs"])
    assert (count, [(one.patients, [path.name for path in one.files]) for one in affected]) == (
        1,
        [(0, ["predictions.parquet"])],
    )


def test_a_table_that_cannot_be_read_is_named(cohort: Cohort, tmp_path: Path) -> None:
    evaluation = run(tmp_path / "runs/evaluation", "python -m finetune.evaluate", None)
    (evaluation / "predictions.parquet").write_text("P8")
    with pytest.raises(UserError, match=r"predictions\.parquet: not readable as Parquet; restore it"):
        affected_by_withdrawal(cohort, [tmp_path / "runs"])


def test_a_folder_that_is_not_there_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no folder; give runs="):
        affected_by_withdrawal(cohort, [tmp_path / "nowhere"])


def test_an_encoder_elsewhere_is_named_and_its_files_are_left_alone(cohort: Cohort, tmp_path: Path) -> None:
    encoder = run(tmp_path / "elsewhere/encoder", "python -m pretrain", ["P1", "P8"])
    write_json(encoder / "embeddings/x/rows.json", {"rows": [["P8", ["report"]]]})
    head = run(tmp_path / "runs/head", "python -m finetune", ["P1", "P2"], [encoder])
    run(tmp_path / "runs/export", "python -m serve.export", None, [head])
    count, affected = affected_by_withdrawal(cohort, [tmp_path / "runs"])
    assert (count, {one.run.name: (one.patients, [path.name for path in one.through]) for one in affected}) == (
        1,
        {"encoder": (1, []), "head": (0, ["encoder"]), "export": (0, ["head"])},
    )
    assert remove_caches(affected) == []


def test_a_run_whose_parent_is_gone_is_named_with_all_that_builds_on_it(cohort: Cohort, runs: Path) -> None:
    shutil.rmtree(runs / "other")
    run(runs / "evaluation", "python -m finetune.evaluate", None, [runs / "kept"])
    count, affected = affected_by_withdrawal(cohort, [runs])
    lost = (runs / "other").resolve()
    assert {one.run.name: (one.patients, one.through) for one in affected if one.lost == [lost]} == {
        "evaluation": (0, []),
        "kept": (0, []),
    }
    assert f"python -m finetune: builds on {lost}, gone, so that nobody can tell whom" in as_text(count, affected)
    assert json.loads(to_json(count, affected))["affected"][-1]["lost"] == [str(lost)]


def test_a_run_whose_hospitals_outlive_it_is_told_by_its_own_list_alone(cohort: Cohort, tmp_path: Path) -> None:
    homes = tmp_path / "homes"
    homes.mkdir()
    for name, patients in (("one", ["P8", "P1"]), ("two", ["P2", "P1"])):
        folder = tmp_path / "runs" / name
        with RunRecord.open(folder, "python -m pretrain.federated", {}, 0, [], {**DATA, "name": "own"}) as record:
            record.note("trained_on", {"hospitals": ["alpha"], "run": name})
        (folder / "sites").symlink_to(homes)
        write_patients(site_list(homes / "alpha", name), patients, [], ["alpha"])
    _, affected = affected_by_withdrawal(cohort, [tmp_path / "runs"])
    assert {one.run.name: one.patients for one in affected} == {"one": 1}


def test_whom_answers_were_about_is_named_and_made_blind(cohort: Cohort, runs: Path, tmp_path: Path) -> None:
    """In a run's sites, in a hospital's own folder, and nowhere where another cohort's patients are."""
    places = [runs / "federated/sites/alpha/state", tmp_path / "hospital/state", tmp_path / "other/state"]
    for state, patients in zip(places, (["P1", "P8"], ["P2", "P7"], ["Q1"]), strict=True):
        QuerySet(frozenset(patients)).write(state / "asked/a.json")
    roots = [runs, tmp_path / "hospital", tmp_path / "other"]
    count, affected = affected_by_withdrawal(cohort, roots)
    assert count == 3
    files = [state.resolve() / "asked/a.json" for state in places[:2]]
    assert sorted(path for one in affected for path in one.files if path.parent.name == "asked") == sorted(files)
    assert "state: hospital's state in a federation: learned from none\n" in as_text(count, affected)
    assert sorted(blind_query_sets(affected, cohort)) == sorted(files)
    for state, patients in zip(places, (["P1"], ["P2"], ["Q1"]), strict=True):
        assert QuerySet.read(state / "asked/a.json").patients == set(patients)
    assert not [path for one in affected_by_withdrawal(cohort, roots)[1] for path in one.files if path in files]


def test_lists_and_splits_lose_the_names_and_still_tell_the_runs(cohort: Cohort, runs: Path) -> None:
    write_json(runs / "head/split.json", {"cohort_digest": "0", "train": ["P1"], "validation": ["P2"], "test": ["P8"]})
    before = affected_by_withdrawal(cohort, [runs])
    remove_caches(before[1])
    changed = blind_lists(before[1], cohort)
    assert {path.name for path in changed} == {"trained_on.json", site_list(Path(), "some run").name, "split.json"}
    after = affected_by_withdrawal(cohort, [runs])
    told = [(one.run, one.patients, one.through) for one in before[1]]
    assert (after[0], [(one.run, one.patients, one.through) for one in after[1]]) == (before[0], told)
    assert [path.name for one in after[1] for path in one.files] == ["predictions.parquet"]
    assert blind_lists(after[1], cohort) == []
    assert not [path for path in runs.rglob("*.json") if "elsewhere" not in path.parts and "P8" in path.read_text()]
    split = json.loads((runs / "head/split.json").read_text())
    assert (split["train"], split["test"], len(split["withdrawn"]["test"])) == (["P1"], [], 1)


def test_who_returns_is_no_test_patient_of_a_run_that_forgot_the_name(cohort: Cohort, runs: Path) -> None:
    encoder = runs / "encoder"
    known = trained_on(encoder)[0][0]
    blind_lists(affected_by_withdrawal(cohort, [runs])[1], cohort)
    (blind,) = trained_on(encoder)[0]  # whose digest is still that of the record
    assert blind.patients == {"P1"} and known.patients == {"P1", "P8", "P9"}
    for one in (known, blind):
        assert one.among(["P1", "P2", "P9"]) == {"P1", "P9"}
        assert len(one.left(["P1", "P2", "P9"])) == 1
    (seen,) = seen_by(encoder, {"P2": "alpha", "P9": "alpha"}, [])[0]
    assert seen.patients == 1


def test_a_list_that_was_changed_otherwise_is_refused(cohort: Cohort, runs: Path) -> None:
    blind_lists(affected_by_withdrawal(cohort, [runs])[1], cohort)
    path = runs / "encoder/trained_on.json"
    content = json.loads(path.read_text())
    for withdrawn in ({}, {"train": content["withdrawn"]["train"][:1]}):
        write_json(path, content | {"withdrawn": withdrawn})
        with pytest.raises(UserError, match=r"trained_on\.json: changed since the run wrote it; restore it"):
            trained_on(runs / "encoder")
    write_json(path, content | {"withdrawn": {"train": [8]}})
    with pytest.raises(UserError, match=r"trained_on\.json: train, validation or withdrawn hold no lists of ids"):
        trained_on(runs / "encoder")
