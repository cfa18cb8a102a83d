"""A cohort that grows: what it holds is what preparing its folders anew holds, and what did not change is not read."""

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from foundation.data import grow as grow_module
from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.grow import grow
from foundation.data.growth import sources, state, survey
from foundation.data.pack import pack
from foundation.data.table_rows import ByRows, RowTable
from foundation.errors import UserError
from foundation.modalities.pathology import preparation as pathology

DECLARED = {
    "name": "own",
    "synthetic": True,
    "description": "Made by a test.",
    "hospitals": ["alpha", "beta"],
    "withdrawn": "withdrawn.txt",
    "dictionary": {
        "genes": ["TP53", "IDH1"],
        "record": [{"name": "age", "kind": "continuous"}, {"name": "sex", "kind": "categorical", "values": ["F", "M"]}],
        "labels": ["idh"],
        "survival": {"event": "os_event", "time": "os_days"},
    },
}
Edit = Callable[[Path], object]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def edit(path: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    rows = rows_of(path)
    after = change(rows)
    with path.open("w") as file:
        writer = csv.DictWriter(file, (after or rows)[0].keys(), quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(after)


def picture(patient: str, number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng([number, *patient.encode()]).integers(0, 255, (6, 5, 3), np.uint8))


def admit(folder: Path, patient: str, images: int = 1) -> None:
    """Adds a patient with a row in every table."""
    number = int(patient[1:])
    rows = {
        "patients.csv": ["patient_id,idh,os_event,os_days", f"{patient},{number % 2},1,{100 + number}"],
        "record.csv": ["patient_id,age,sex", f"{patient},{40 + number},{'FM'[number % 2]}"],
        "expression.csv": ["patient_id,TP53,IDH1", f"{patient},{number}.5,{number}.25"],
        "mutations.csv": ["patient_id,IDH1", f"{patient},{number % 2}"],
        "reports.csv": ["patient_id,text", f'{patient},"Tumour {number},\nmargin ""free""."'],
        "pathology.csv": ["patient_id,file", *(f"{patient},{patient}-{one}.png" for one in range(images))],
    }
    for one in range(images):
        picture(patient, one).save(folder / f"{patient}-{one}.png")
    for name, (header, *added) in rows.items():
        path = folder / name
        text = path.read_text() if path.is_file() else f"{header}\n"
        path.write_text("".join([text, *(f"{row}\n" for row in added)]))


def dismiss(folder: Path, patient: str) -> None:
    """Takes every row of a patient out."""
    for path in folder.glob("*.csv"):
        edit(path, lambda rows: [row for row in rows if row["patient_id"] != patient])


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    root = tmp_path / "sites"
    for hospital in ("alpha", "beta"):
        (root / hospital).mkdir(parents=True)
        for number in range(1, 6):
            admit(root / hospital, f"{hospital[0]}{number}", images=2 if number == 2 else 1)
    (root / "withdrawn.txt").write_text("")
    (root / "cohort.yaml").write_text(yaml.safe_dump(DECLARED))
    return root


@pytest.fixture
def prepared(sites: Path, tmp_path: Path) -> Path:
    pack(sites, tmp_path / "out")
    return tmp_path / "out"


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(row) for row in value.rows(slice(None))] if hasattr(value, "rows") else np.asarray(value).tolist()


def same(one: Path, other: Path) -> None:
    """Every patient of two prepared cohorts has the same, in the same order, and files without images are the same."""
    left, right = Cohort(one), Cohort(other)
    assert left.hospitals == right.hospitals
    assert left.dictionary == right.dictionary
    starts = [name for name in left.patients if name.endswith("_start")]
    pd.testing.assert_frame_equal(left.patients.drop(columns=starts), right.patients.drop(columns=starts))
    for patient in left.patients.index:
        np.testing.assert_equal(plain(left.sample(patient)), plain(right.sample(patient)))
    for path in one.rglob("*.npy"):
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()


def new_patients(root: Path) -> None:
    admit(root / "alpha", "a0")
    admit(root / "beta", "b9", images=3)


def with_cell(patient: str, column: str, cell: str) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    return lambda rows: [row | {column: cell} if row["patient_id"] == patient else row for row in rows]


def changed_cells(root: Path) -> None:
    edit(root / "alpha/record.csv", with_cell("a2", "age", "77"))
    edit(root / "beta/patients.csv", with_cell("b1", "idh", ""))
    edit(root / "beta/expression.csv", lambda rows: rows[:2] + rows[3:])


def changed_image(root: Path) -> None:
    picture("z", 9).save(root / "beta/b3-0.png")


def another_order(root: Path) -> None:
    edit(root / "alpha/patients.csv", lambda rows: rows[::-1])
    edit(root / "alpha/mutations.csv", lambda rows: rows[::-1])


def date_of_the_landmark(root: Path) -> None:
    for hospital in ("alpha", "beta"):
        for name, date in (("patients.csv", "2020-01-05"), ("record.csv", "2020-01-03")):
            edit(root / hospital / name, lambda rows, date=date: [row | {"on": date} for row in rows])
    source = {"file": "record.csv", "date": "on", "columns": {"age": "age", "sex": "sex"}}
    tables = {"expression": {"file": "expression.csv", "timeless": True, "annotation": ["on"]}}
    tables |= {"mutations": {"file": "mutations.csv", "timeless": True}}
    (root / "cohort.yaml").write_text(
        yaml.safe_dump({**DECLARED, "landmark": {"date": "on"}, "sources": {"record": source, **tables}})
    )


def table_gone(root: Path) -> None:
    (root / "alpha/record.csv").unlink()


def table_by_gene(root: Path) -> None:
    table = pd.read_csv(root / "alpha/expression.csv").set_index("patient_id")
    (root / "alpha/expression.csv").unlink()
    table.to_parquet(root / "alpha/expression.parquet")


def left(root: Path) -> None:
    dismiss(root / "alpha", "a2")
    dismiss(root / "beta", "b5")


def listed(root: Path) -> None:
    (root / "withdrawn.txt").write_text("b2\na1\n")


def moved(root: Path) -> None:
    dismiss(root / "alpha", "a4")
    admit(root / "beta", "a4")


def first_of_a_modality(root: Path) -> None:
    (root / "beta/radiology").mkdir()
    picture("b2", 7).save(root / "beta/radiology/b2.png")


def hospital_joins(root: Path) -> None:
    (root / "gamma").mkdir()
    for number in range(1, 4):
        admit(root / "gamma", f"g{number}")
    (root / "cohort.yaml").write_text(yaml.safe_dump({**DECLARED, "hospitals": ["alpha", "beta", "gamma"]}))


def hospital_leaves(root: Path) -> None:
    (root / "cohort.yaml").write_text(yaml.safe_dump({**DECLARED, "hospitals": ["beta"]}))


def everything(root: Path) -> None:
    for one in (new_patients, changed_image, left, hospital_joins, first_of_a_modality):
        one(root)


COUNTS = {
    new_patients: (2, 0, 0),
    changed_cells: (0, 3, 0),
    changed_image: (0, 1, 0),
    table_gone: (0, 5, 0),
    table_by_gene: (0, 5, 0),
    left: (0, 0, 2),
    listed: (0, 0, 2),
    moved: (1, 0, 1),
    first_of_a_modality: (0, 1, 0),
    hospital_joins: (3, 0, 0),
    hospital_leaves: (0, 0, 5),
    everything: (5, 2, 2),
}


@pytest.mark.parametrize("change", COUNTS)
def test_a_grown_cohort_holds_what_its_folders_prepared_anew_hold(
    change: Edit, sites: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(sites)
    packed = grow(sites, prepared, read_declaration(sites))
    assert packed is not None
    assert tuple(packed["grown"].values()) == COUNTS[change]
    assert packed["read_whole"] is None
    anew = pack(sites, tmp_path / "anew")
    assert packed["found"] == anew["found"]
    assert packed["characteristics"] == anew["characteristics"]
    same(prepared, tmp_path / "anew")
    monkeypatch.setattr(survey, "validate", None)  # nothing is read whole
    assert grow(sites, prepared, read_declaration(sites)) is None


def test_an_earlier_landmark_takes_what_came_after_it_out(sites: Path, tmp_path: Path) -> None:
    date_of_the_landmark(sites)
    pack(sites, tmp_path / "out")
    edit(sites / "alpha/patients.csv", with_cell("a2", "on", "2020-01-01"))
    packed = grow(sites, tmp_path / "out", read_declaration(sites))
    assert packed is not None
    assert packed["grown"] == {"new": 0, "changed": 1, "withdrawn": 0}
    assert "record" not in Cohort(tmp_path / "out").sample("a2")
    pack(sites, tmp_path / "anew")
    same(tmp_path / "out", tmp_path / "anew")


@pytest.mark.parametrize("change", [lambda root: None, another_order], ids=["untouched", "another order of rows"])
def test_nothing_is_written_where_no_patient_changed(change: Edit, sites: Path, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    change(sites)
    assert grow(sites, prepared, read_declaration(sites)) is None
    assert before == {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}


def test_images_that_did_not_change_are_neither_decoded_nor_copied(
    sites: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = pathology.read_image
    monkeypatch.setattr(pathology, "read_image", lambda path, *rest: read.append(path.name) or whole(path, *rest))
    inode = (prepared / "alpha/pathology-00000.arrow").stat().st_ino
    new_patients(sites)
    (sites / "beta/b1-0.png").touch()  # another time, the same content
    grow(sites, prepared, read_declaration(sites))
    assert sorted(read) == ["a0-0.png", "b9-0.png", "b9-1.png", "b9-2.png"]
    assert (prepared / "alpha/pathology-00000.arrow").stat().st_ino == inode


def test_of_a_table_that_rows_were_added_to_these_alone_are_cut(
    sites: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: dict[str, int] = {}
    whole = sources.read_rows

    def read_rows(source: ByRows, after: int = 0) -> RowTable | None:
        table = whole(source, after)
        cut[f"{source.path.parent.name}/{source.path.name}"] = len(table.rows if table else ())
        return table

    monkeypatch.setattr(sources, "read_rows", read_rows)
    admit(sites / "alpha", "a7")
    (sites / "beta/patients.csv").write_text((sites / "beta/patients.csv").read_text().replace(",1,101", ",0,101"))
    packed = grow(sites, prepared, read_declaration(sites))
    assert packed is not None
    assert packed["grown"] == {"new": 1, "changed": 1, "withdrawn": 0}
    tables = ("patients", "record", "expression", "mutations", "reports")
    assert cut == {f"alpha/{name}.csv": 1 for name in tables} | {"beta/patients.csv": 5}


@pytest.mark.parametrize("change", [left, listed])
def test_nothing_of_a_withdrawn_patient_stays_in_any_file(change: Edit, sites: Path, prepared: Path) -> None:
    secrets = {"a": np.asarray(picture("a2", 0)).tobytes(), "b": np.asarray(picture("b2", 1)).tobytes()}
    of_hospital = {"a": "alpha", "b": "beta"}
    gone = {left: {"a2", "b5"}, listed: {"b2", "a1"}}[change]
    change(sites)
    grow(sites, prepared, read_declaration(sites))
    for path in prepared.rglob("*.parquet"):
        assert gone.isdisjoint(pd.read_parquet(path).astype(str).to_numpy().ravel())
        assert gone.isdisjoint(map(str, pd.read_parquet(path).index))
    for patient in gone & {"a2", "b2"}:
        stores = (prepared / of_hospital[patient[0]]).glob("*.arrow")
        assert not any(secrets[patient[0]] in path.read_bytes() for path in stores)
    assert not list(prepared.parent.glob(".out*"))


def test_what_a_killed_process_left_goes_though_nothing_changed(sites: Path, prepared: Path) -> None:
    for name in (".out.writing", ".out.tiles", ".out.growing"):
        prepared.with_name(name).mkdir()
        (prepared.with_name(name) / "rows").write_text("a2")
    assert grow(sites, prepared, read_declaration(sites)) is None
    assert not list(prepared.parent.glob(".out*"))


@pytest.mark.parametrize("name", ["write_json", "file_digests", "merged_table"])
def test_a_growth_that_ends_half_way_leaves_the_earlier_cohort(
    name: str, sites: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}
    everything(sites)
    monkeypatch.setattr(grow_module, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        grow(sites, prepared, read_declaration(sites))
    assert before == {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}


def test_an_error_in_what_changed_is_named_as_validation_names_it(sites: Path, prepared: Path) -> None:
    edit(sites / "beta/record.csv", lambda rows: [*rows[:3], rows[3] | {"age": "old"}, rows[4]])
    with pytest.raises(UserError, match=r"sites/beta/record\.csv: field age: patient b4 is no number \(old\)"):
        grow(sites, prepared, read_declaration(sites))


def test_rows_of_a_patient_who_left_the_patients_table_alone_are_refused(sites: Path, prepared: Path) -> None:
    edit(sites / "beta/patients.csv", lambda rows: rows[1:])
    with pytest.raises(UserError, match=r"field patient_id: 1 patients who are not in patients\.csv, the first \(b1\)"):
        grow(sites, prepared, read_declaration(sites))


def test_a_patient_at_two_hospitals_is_refused(sites: Path, prepared: Path) -> None:
    admit(sites / "beta", "a4")
    with pytest.raises(UserError, match=r"beta/patients\.csv: .*is also a patient of alpha \(a4\)"):
        grow(sites, prepared, read_declaration(sites))


def test_another_dictionary_asks_to_prepare_anew(sites: Path, prepared: Path) -> None:
    dictionary = {**DECLARED["dictionary"], "genes": ["TP53"]}  # type: ignore[dict-item]
    (sites / "cohort.yaml").write_text(yaml.safe_dump({**DECLARED, "dictionary": dictionary}))
    with pytest.raises(UserError, match="under another declaration or release; overwrite=true prepares it anew"):
        grow(sites, prepared, read_declaration(sites))


def test_a_cohort_without_digests_is_refused(sites: Path, prepared: Path) -> None:
    (prepared / state.FILE).unlink()
    with pytest.raises(UserError, match=r"growth\.parquet: missing, .*overwrite=true"):
        grow(sites, prepared, read_declaration(sites))


def test_hospitals_of_a_column_grow_too(sites: Path, tmp_path: Path) -> None:
    root = tmp_path / "one"
    shutil.copytree(sites / "alpha", root)
    declared = {**DECLARED, "hospitals": {"column": "clinic"}, "withdrawn": None}
    (root / "cohort.yaml").write_text(yaml.safe_dump(declared))

    def at(clinic: Callable[[str], str]) -> None:
        edit(root / "patients.csv", lambda rows: [row | {"clinic": clinic(row["patient_id"])} for row in rows])

    at(lambda patient: "north" if patient in ("a1", "a2") else "south")
    pack(root, tmp_path / "out")
    dismiss(root, "a5")
    at(lambda patient: "north" if patient in ("a1", "a3") else "south")
    packed = grow(root, tmp_path / "out", read_declaration(root))
    assert packed is not None
    assert packed["grown"] == {"new": 2, "changed": 0, "withdrawn": 3}
    pack(root, tmp_path / "anew")
    same(tmp_path / "out", tmp_path / "anew")


def test_hashed_ids_grow_under_the_same_key(sites: Path, tmp_path: Path) -> None:
    declared = {**DECLARED, "deidentify": {"ids": "hash", "key": "../site.key"}}
    (sites / "cohort.yaml").write_text(yaml.safe_dump(declared))
    pack(sites, tmp_path / "out")
    for change in (left, new_patients, listed):
        change(sites)
        grow(sites, tmp_path / "out", read_declaration(sites))
    pack(sites, tmp_path / "anew")
    same(tmp_path / "out", tmp_path / "anew")
    names = pd.read_parquet(tmp_path / "out" / state.FILE)["patient"]
    assert all(name == "" or name.startswith("P-") for name in names)
