"""Tables: what is read, what a declaration makes of it, and what each damaged file is refused with."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from pydantic import ValidationError

from foundation.data.problems import DataError
from foundation.data.table_files import as_text, read_frame
from foundation.data.tables import TableSource, read_source

TABLE = pd.DataFrame({"patient_id": ["007", "008"], "age": [61.5, np.nan], "note": ["a, b", 'says "c"']})


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def twins() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array([1])], names=["age", "age"]), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("t.csv", TABLE.to_csv(index=False).encode(), 2),
        ("t.csv", b"\xef\xbb\xbf" + TABLE.to_csv(index=False).encode(), 2),
        ("t.CSV", TABLE.to_csv(index=False, lineterminator="\r\n").encode(), 2),
        ("t.tsv", TABLE.to_csv(index=False, sep="\t").encode(), 2),
        ("t.v1.txt", TABLE.to_csv(index=False, sep="\t").encode(), 2),
        ("t.csv.gz", gzip.compress(TABLE.to_csv(index=False).encode()), 2),
        ("t.parquet", parquet(TABLE), 1),
        ("t.parquet", parquet(TABLE.set_index("patient_id")), 1),
        ("t.parquet", parquet(TABLE.set_index(pd.Index([5, 9]))), 1),
        ("t.jsonl", TABLE.to_json(orient="records", lines=True).encode(), 1),
        ("t.ndjson.gz", gzip.compress(TABLE.to_json(orient="records", lines=True).encode()), 1),
    ],
    ids=[
        "comma",
        "byte order mark",
        "upper case, Windows lines",
        "tab",
        "tab, txt",
        "gzip",
        "Parquet",
        "Parquet, id as index",
        "Parquet, numbered index",
        "JSONL",
        "NDJSON, gzip",
    ],
)
def test_every_format_reads_the_same_table(tmp_path: Path, name: str, content: bytes, first: int) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_source(tmp_path, TableSource(file=name))[["age", "note"]]
    assert_frame_equal(found, TABLE.set_index("patient_id"))
    assert read_frame(tmp_path / name).frame.index.tolist() == [first, first + 1]


def test_rows_are_counted_as_the_file_shows_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('patient_id,text\n\na,"two\nlines"\n   \nb,one\n\n')
    frame = read_frame(tmp_path / "t.csv").frame
    assert frame["text"].to_dict() == {3: "two\nlines", 5: "one"}


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([1.0, None, 20.0], ["1", None, "20"]),
        ([1.5, 2.0], ["1.5", "2"]),
        ([" a ", "", None], ["a", None, None]),
        ([1, "x", 2.0], ["1", "x", "2"]),
        ([None, None], [None, None]),
        ([True, False], ["True", "False"]),
    ],
)
def test_cells_as_text(cells: list[object], text: list[str | None]) -> None:
    assert [None if pd.isna(cell) else cell for cell in as_text(pd.Series(cells))] == text


CLINICAL = """case,GENDER,Age,ldh,type,stage
TCGA-02-0001-01,FEMALE,44.0,250,GBM,2
TCGA-02-0003-01,MALE,-1,-9,LGG,3.0
TCGA-02-0004-01,[Unknown],NA,0,LGG,[Unknown]
TCGA-02-0005-01,MALE,70,50,BRCA,1
"""
DECLARED = {
    "file": "clinical.csv",
    "key": "case",
    "key_pattern": "^(TCGA-..-....)",
    "missing": ["[Unknown]", "NA"],
    "where": {"type": ["LGG", "GBM"]},
    "columns": {
        "sex": {"from": "GENDER", "values": {"FEMALE": "F", "MALE": "M"}},
        "age": {"from": "Age", "missing": [-1]},
        "ldh": {"scale": 0.01, "offset": 1, "nonpositive_missing": True},
        "high": {"from": "stage", "values": {2: 0, "3": 1}},
        "kind": "type",
    },
}


@pytest.fixture
def clinical(tmp_path: Path) -> Path:
    (tmp_path / "clinical.csv").write_text(CLINICAL)
    return tmp_path


def test_a_declaration_renames_translates_and_joins(clinical: Path) -> None:
    found = read_source(clinical, TableSource.model_validate(DECLARED))
    expected = pd.DataFrame(
        {
            "sex": ["F", "M", np.nan],
            "age": [44.0, np.nan, np.nan],
            "ldh": [3.5, np.nan, np.nan],
            "high": [0.0, 1.0, np.nan],
            "kind": ["GBM", "LGG", "LGG"],
        },
        index=pd.Index(["TCGA-02-0001", "TCGA-02-0003", "TCGA-02-0004"], name="patient_id"),
    )
    assert_frame_equal(found, expected)


def test_without_columns_everything_is_kept_as_it_is(clinical: Path) -> None:
    found = read_source(clinical, TableSource(file="clinical.csv", key="case", missing=["[Unknown]", "-9", "NA"]))
    assert list(found) == ["GENDER", "Age", "ldh", "type", "stage"]
    assert found.index[0] == "TCGA-02-0001-01"
    assert found["stage"].tolist()[:2] == [2.0, 3.0]
    assert found[["GENDER", "ldh", "stage"]].isna().sum().tolist() == [1, 1, 1]


def test_a_patient_may_stand_often_where_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text("patient_id,file\n1,a.png\n1,b.png\n")
    found = read_source(tmp_path, TableSource(file="files.csv"), unique=False)
    assert found.index.tolist() == ["1", "1"]


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"keys": "a"}, "keys"),
        ({"key_pattern": "("}, "no regular expression"),
        ({"key_pattern": "(a)(b)"}, "more than one group"),
        ({"columns": {"a": {"values": {False: 0}}}}, "put it in quotes"),
        ({"columns": {"a": {"form": "b"}}}, "form"),
        ({"missing": [True]}, "put it in quotes"),
    ],
)
def test_a_declaration_says_what_is_wrong_with_it(part: dict[str, object], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        TableSource.model_validate({"file": "t.csv", **part})


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, max_size=5))
def test_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("text") / "t.jsonl"
    path.write_text("\n".join(json.dumps({"patient_id": "a", "text": text}) for text in texts), encoding="utf-8")
    assert read_frame(path).frame["text"].tolist() == [text if text.strip() else None for text in texts]


def file(name: str, content: str | bytes, **source: object) -> Callable[[Path], TableSource]:
    def build(folder: Path) -> TableSource:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return TableSource.model_validate({"file": name, **source})

    return build


OK = "patient_id,age\na,1\nb,2\n"
CODED = {"columns": {"sex": {"values": {"F": "F", "M": "M"}}}}
CORRUPT: dict[str, tuple[Callable[[Path], TableSource], str]] = {
    "missing": (lambda folder: TableSource(file="t.csv"), "t.csv: missing; put it there"),
    "misspelt": (
        lambda folder: file("tt.csv", OK)(folder).model_copy(update={"file": "t.csv"}),
        "did you mean 'tt.csv'",
    ),
    "a folder": (lambda folder: (folder / "t.csv").mkdir() or TableSource(file="t.csv"), "t.csv: missing"),
    "empty": (file("t.csv", ""), "t.csv: empty file"),
    "blank": (file("t.csv", "\n \n"), "t.csv: empty file"),
    "unknown format": (file("t.sas7bdat", OK), "no table format '.sas7bdat'; save it as .csv"),
    "Excel by suffix": (file("t.xlsx", b"PK\3\4"), "no table format '.xlsx'"),
    "Excel inside": (file("t.csv", b"PK\3\4rest"), "t.csv: is an Excel workbook"),
    "old Excel inside": (file("t.csv", b"\xd0\xcf\x11\xe0rest"), "t.csv: is an old Excel workbook"),
    "PDF inside": (file("t.csv", b"%PDF-1.7"), "t.csv: is a PDF document"),
    "gzip inside": (file("t.csv", gzip.compress(OK.encode())), "t.csv: is a gzip file"),
    "Parquet inside": (file("t.csv", parquet(TABLE)), "t.csv: is a Parquet file"),
    "web page": (file("t.csv", "\n<!doctype html><p>Log in"), "t.csv: is a web page"),
    "binary": (file("t.csv", b"patient_id,age\na,\0\1\2\n"), "t.csv: binary, not text"),
    "UTF-16": (file("t.csv", OK.encode("utf-16")), "t.csv: is UTF-16 text"),
    "Latin-1": (file("t.csv", "patient_id,name\na,Anne\nb,Jürgen\n".encode("latin-1")), "t.csv: row 3: not UTF-8 text"),
    "gzip truncated": (file("t.csv.gz", gzip.compress(OK.encode() * 99)[:-20]), "t.csv.gz: truncated or damaged gzip"),
    "gzip damaged": (
        file("t.csv.gz", gzip.compress(OK.encode())[:12] + b"\xff" * 30),
        "t.csv.gz: truncated or damaged",
    ),
    "gzip by name": (file("t.csv.gz", OK), "t.csv.gz: not readable"),
    "gzip empty": (file("t.csv.gz", b""), "t.csv.gz: empty file"),
    "gzip of nothing": (file("t.csv.gz", gzip.compress(b"")), "t.csv.gz: empty file"),
    "semicolons": (file("t.csv", "patient_id;age\na;1,5\n"), "separated by semicolons, not by commas"),
    "tabs": (file("t.csv", OK.replace(",", "\t")), "is separated by tabs, not by commas .* name it .tsv"),
    "commas": (file("t.tsv", OK), "is separated by commas, not by tabs .* name it .csv"),
    "short row": (file("t.csv", OK + "c\n"), "t.csv: row 4: 1 cells where the header has 2"),
    "long row": (file("t.csv", OK + "\nc,3,4\n"), "t.csv: row 5: 3 cells where the header has 2"),
    "trailing comma": (file("t.csv", "patient_id,age\na,1,\n"), "t.csv: row 2: 3 cells"),
    "quote open": (file("t.csv", OK + '"c,3\n'), "t.csv: row 4: quotes do not match"),
    "quote inside": (file("t.csv", OK + '"c"d,3\n'), "t.csv: row 4: quotes do not match"),
    "header twice": (file("t.csv", "patient_id,age,age \na,1,2\n"), "t.csv: field age: 2 columns of this name"),
    "headers empty": (file("t.csv", "patient_id,age,,\na,1,,\n"), "t.csv: 2 columns without a name"),
    "Parquet truncated": (file("t.parquet", parquet(TABLE)[:-9]), "t.parquet: truncated Parquet"),
    "Parquet damaged": (
        file("t.parquet", parquet(TABLE)[:-300] + b"\x7f" * 292 + parquet(TABLE)[-8:]),
        "t.parquet: damaged Parquet",
    ),
    "Parquet by name": (file("t.parquet", OK), "t.parquet: no Parquet file"),
    "Parquet empty": (file("t.parquet", b""), "t.parquet: empty file"),
    "Parquet twins": (file("t.parquet", twins()), "t.parquet: field age: 2 columns of this name"),
    "Parquet nested": (file("t.parquet", parquet(pd.DataFrame({"patient_id": ["a"], "x": [[1]]}))), "field x: nested"),
    "Parquet gzipped": (file("t.parquet.gz", gzip.compress(parquet(TABLE))), "no table format '.parquet'"),
    "JSON array": (file("t.jsonl", '[{"patient_id": "a"}]\n'), "t.jsonl: row 1: line holds a list"),
    "JSON number": (file("t.jsonl", '{"patient_id": "a"}\n\n3\n'), "t.jsonl: row 3: line holds a int"),
    "JSON cut off": (file("t.jsonl", '{"patient_id": "a"}\n{"patient_'), "t.jsonl: row 2: no JSON"),
    "JSON pretty": (file("t.jsonl", '{\n "patient_id": "a"\n}'), "t.jsonl: row 1: no JSON"),
    "JSON deep": (file("t.jsonl", "[" * 200_000), "t.jsonl: row 1: no JSON"),
    "JSON nested": (file("t.jsonl", '{"patient_id": "a", "x": {"y": 1}}'), "t.jsonl: row 1, field x: nested value"),
    "JSON key twice": (
        file("t.jsonl", '{"patient_id": "a", "x": 1, "x": 2}'),
        "t.jsonl: row 1: no JSON .key 'x' stands twice",
    ),
    "no key": (file("t.csv", "id,age\na,1\n"), "t.csv: field patient_id: no such column among id, age; add it"),
    "key misspelt": (file("t.csv", "Patient ID,age\na,1\n"), "field patient_id: .* did you mean 'Patient ID'"),
    "column misspelt": (
        file("t.csv", OK, columns={"age": {"from": "agee"}}),
        "t.csv: field agee: no such column among patient_id, age; did you mean 'age'",
    ),
    "filter column": (file("t.csv", OK, where={"kind": ["x"]}), "t.csv: field kind: no such column"),
    "filter value": (file("t.csv", OK, where={"age": ["3", "4"]}), r"t.csv: field age: no row holds 3 or 4 \(1\)"),
    "key empty": (file("t.csv", OK + "\n,3\n"), "t.csv: row 5, field patient_id: empty"),
    "key blank": (file("t.csv", OK + "  ,3\n"), "t.csv: row 4, field patient_id: empty"),
    "twice": (file("t.csv", OK + "a,3\n"), r"row 4, field patient_id: patient stands in row 2 already \(a\)"),
    "twice by pattern": (file("t.csv", "patient_id\na-1\na-2\n", key_pattern="^[a-z]"), "row 3, .* in row 2 already"),
    "pattern fails": (file("t.csv", OK, key_pattern="^(a)"), r"row 3, field patient_id: .* does not match \(b\)"),
    "unknown code": (
        file("t.csv", "patient_id,sex\na,F\nb,f\n", **CODED),
        r"t.csv: row 3, field sex: none of F, M \(f\); did you mean 'F'",
    ),
    "text converted": (
        file("t.csv", OK + "c,old\n", columns={"age": {"scale": 2}}),
        r"t.csv: row 4, field age: text where numbers are converted \(old\)",
    ),
}


@pytest.mark.parametrize(("build", "line"), CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_table_is_refused_in_one_line(
    tmp_path: Path, build: Callable[[Path], TableSource], line: str
) -> None:
    source = build(tmp_path)
    with pytest.raises(DataError, match=line) as caught:
        read_source(tmp_path, source)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / source.file}: ")
