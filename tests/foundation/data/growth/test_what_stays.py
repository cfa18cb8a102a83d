"""A cohort that grows: what did not change is not read, who left leaves nothing, and refusals change nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from foundation.data import grow as grow_module
from foundation.data.declaration import read_declaration
from foundation.data.grow import grow
from foundation.data.growth import sources, state
from foundation.data.table_rows import ByRows, RowTable
from foundation.errors import UserError
from foundation.modalities.pathology import preparation as pathology
from tests.foundation.data.growth.folders import (
    DECLARED,
    Edit,
    admit,
    another_order,
    edit,
    everything,
    left,
    listed,
    new_patients,
    picture,
)


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

    def counting(read: Callable[..., RowTable | None]) -> Callable[..., RowTable | None]:
        def counted(source: ByRows, *after: int) -> RowTable | None:
            table = read(source, *after)
            cut[f"{source.path.parent.name}/{source.path.name}"] = len(table.rows if table else ())
            return table

        return counted

    for name in ("read_rows", "read_added_rows"):
        monkeypatch.setattr(sources, name, counting(getattr(sources, name)))
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


def test_rows_that_were_added_and_are_no_text_are_named_by_their_row(sites: Path, prepared: Path) -> None:
    with (sites / "beta/reports.csv").open("ab") as file:
        file.write("b4,Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"beta/reports\.csv: row 12: not UTF-8 text \(byte 0xf6\)"):
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
