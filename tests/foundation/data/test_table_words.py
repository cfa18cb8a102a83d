"""Words, numbers and codes of declared tables, in every format alike."""

import json
from pathlib import Path

import pandas as pd
import pytest

from foundation.data.declaration import read_declaration
from foundation.data.pack import pack
from foundation.data.problems import DataError, Problems
from foundation.data.tables import Kinds, TableSource, read_source
from foundation.data.validation import validate
from tests.foundation.cohort_files import declare_otherwise, edit, write_cohort

FORMATS = ("csv", "tsv", "jsonl", "parquet")


def write(path: Path, table: pd.DataFrame) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict(orient="records")))
    elif path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("form", FORMATS)
def test_declared_words_are_values_and_only_declared_ones_are_missing(tmp_path, form):
    words = ["None", "NA", "n/a", "null", "unknown", ""]
    write(tmp_path / f"t.{form}", pd.DataFrame({"patient_id": list("abcdef"), "x": words}))
    kinds = Kinds(words={"x": ["None", "NA", "n/a", "null"]})
    source = TableSource(file=f"t.{form}", missing=["unknown", "NA"])
    found = read_source(tmp_path, source, kinds=kinds)["x"]
    assert [None if pd.isna(cell) else cell for cell in found] == ["None", "NA", "n/a", "null", None, None]


@pytest.mark.parametrize("form", FORMATS)
def test_an_undeclared_word_among_numbers_stays_a_word(tmp_path, form):
    write(tmp_path / f"t.{form}", pd.DataFrame({"patient_id": ["a", "b"], "age": ["61.5", "NA"]}))
    found = read_source(tmp_path, TableSource(file=f"t.{form}"), kinds=Kinds(numbers=["age"]))["age"]
    assert found.tolist() == [61.5, "NA"]
    source = TableSource(file=f"t.{form}", missing=["NA"])
    missing = read_source(tmp_path, source, kinds=Kinds(numbers=["age"]))["age"]
    assert missing.iloc[0] == 61.5 and pd.isna(missing.iloc[1])


@pytest.mark.parametrize("form", FORMATS)
def test_text_stays_text_and_long_identifiers_keep_their_digits(tmp_path, form):
    table = pd.DataFrame({"patient_id": ["007", "1E3"], "file": ["0001", "1.0"], "code": ["0081", "0101"]})
    write(tmp_path / f"t.{form}", table)
    found = read_source(tmp_path, TableSource(file=f"t.{form}"), kinds=Kinds(text=["file"], words={"code": ["0081"]}))
    assert found.index.tolist() == ["007", "1E3"]
    assert found["file"].tolist() == ["0001", "1.0"]
    assert found["code"].tolist() == ["0081", "0101"]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_missing_cell_does_not_round_numbers_that_are_identifiers(tmp_path, form):
    table = pd.DataFrame({"patient_id": [9007199254740993, 2], "n": pd.Series([9007199254740993, None], dtype="Int64")})
    if form == "parquet":
        table.to_parquet(tmp_path / "t.parquet", index=False)
    else:
        (tmp_path / "t.jsonl").write_text(
            '{"patient_id": 9007199254740993, "n": 9007199254740993}\n{"patient_id": 2}\n'
        )
    found = read_source(tmp_path, TableSource(file=f"t.{form}"), kinds=Kinds(text=["n"]))
    assert found.index.tolist() == ["9007199254740993", "2"]
    assert found["n"].iloc[0] == "9007199254740993"


@pytest.mark.parametrize("word", ["1", "1.0"])
def test_a_category_may_be_written_with_or_without_a_zero_behind_the_point(tmp_path, word):
    (tmp_path / "t.csv").write_text("patient_id,stage\na,1.0\nb,1\nc,\n")
    found = read_source(tmp_path, TableSource(file="t.csv"), kinds=Kinds(words={"stage": [word]}))["stage"]
    assert found.tolist()[:2] == [word, word]


def test_bounded_values_have_a_declared_rule(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,age,ldh\na,50,<0.01\nb,> 89,0.5\nc,90+,\n")
    columns = {
        "age": {"bounds": "limit"},
        "ldh": {"bounds": "half"},
        "age_else": {"from": "age", "bounds": {"> 89": 95, "90+": 96}},
    }
    source = TableSource.model_validate({"file": "t.csv", "columns": columns})
    found = read_source(tmp_path, source)
    assert found["age"].tolist() == [50, 89, 90]
    assert found["ldh"].tolist()[:2] == [0.005, 0.5]
    assert found["age_else"].tolist() == [50, 95, 96]


def test_another_column_is_asked_only_where_the_first_does_not_say(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,age\na,50\nb,> 89\n")
    column = {"missing": ["> 89"], "or_else": {"from": "age", "values": {"> 89": 90}}}
    source = TableSource.model_validate({"file": "t.csv", "columns": {"age": column}})
    assert read_source(tmp_path, source)["age"].tolist() == [50, 90]


GERMAN = "patient_id;alter;ldh\nP1;61,5;1.250,0\nP2;70,25;212,5\nP3;55;240\n"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_declared_dialect_is_read_exactly(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(GERMAN.replace("alter", "größe").encode(encoding))
    source = TableSource(file="t.csv", delimiter=";", decimal=",", thousands=".", encoding=encoding)
    found = read_source(tmp_path, source, kinds=Kinds(numbers=["größe", "ldh"]))
    assert found["größe"].tolist() == [61.5, 70.25, 55]
    assert found["ldh"].tolist() == [1250, 212.5, 240]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("patient_id\tos_days\nP1\t1095\nP2\t1.460\n", "os_days", "1.460"),
        ("patient_id\tplatelets\nP1\t150.000\nP2\t230.000\n", "platelets", "150.000"),
        ("patient_id\tage\tldh\nP1\t61.5\t1.250\nP2\t70.5\t212\n", "ldh", "1.250"),
    ],
)
def test_ambiguous_thousands_are_refused_unless_declared(tmp_path, text, field, value):
    (tmp_path / "t.tsv").write_text(text)
    kinds = Kinds(numbers=["os_days", "platelets", "age", "ldh"])
    with pytest.raises(DataError, match=f"field {field}: may be thousands or a fraction \\({value}\\); say decimal"):
        read_source(tmp_path, TableSource(file="t.tsv"), kinds=kinds)
    fraction = read_source(tmp_path, TableSource(file="t.tsv", decimal="."), kinds=kinds)[field]
    assert float(value) in fraction.tolist()
    if "61.5" not in text:
        thousands = read_source(tmp_path, TableSource(file="t.tsv", decimal=",", thousands="."), kinds=kinds)[field]
        assert float(value.replace(".", "")) in thousands.tolist()


def test_comment_lines_are_left_out_and_named_and_a_commented_header_is_a_header(tmp_path):
    (tmp_path / "c.txt").write_text("#Patient\tMSI\n#STRING\tNUMBER\nPATIENT_ID\tMSI\nP1\t1\n")
    problems = Problems()
    found = read_source(tmp_path, TableSource(file="c.txt", key="PATIENT_ID"), problems=problems)
    assert found.to_dict() == {"MSI": {"P1": 1}}
    assert "2 lines above the header are left out, the first (#Patient MSI)" in str(problems.warnings[0])
    (tmp_path / "h.tsv").write_text("#patient_id\tage\nP1\t50\n")
    assert read_source(tmp_path, TableSource(file="h.tsv"))["age"].to_dict() == {"P1": 50}


SAMPLES = "sample,x\nTCGA-AA-0001-06A,6\nTCGA-AA-0001-01A,1\nTCGA-AA-0002-11A,11\n"


def test_one_sample_of_a_patient_is_taken_by_the_declared_rule(tmp_path):
    (tmp_path / "t.csv").write_text(SAMPLES)
    base = {"file": "t.csv", "key": "sample", "key_pattern": r"(TCGA-\w\w-\w{4})"}
    with pytest.raises(DataError, match="patient stands in row 2 already .*unique: first, or say which under samples"):
        read_source(tmp_path, TableSource.model_validate(base))
    for rule, expected in (
        ({"samples": "primary"}, {"TCGA-AA-0001": 1}),
        ({"samples": ["-06", "-11"]}, {"TCGA-AA-0001": 6, "TCGA-AA-0002": 11}),
        ({"unique": "first"}, {"TCGA-AA-0001": 6, "TCGA-AA-0002": 11}),
        ({"unique": "last"}, {"TCGA-AA-0001": 1, "TCGA-AA-0002": 11}),
    ):
        assert read_source(tmp_path, TableSource.model_validate({**base, **rule}))["x"].to_dict() == expected


def test_one_unknown_category_costs_its_cell_alone(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    columns = {"age": "age", "sex": {"values": {"female": "female", "male": "male"}}}
    declare_otherwise(root, sources={"record": {"file": "record.csv", "columns": columns}})
    edit(root / "north" / "record.csv", sex="diverse")
    problems = validate(root, read_declaration(root), images=False, progress=False).problems
    (line,) = map(str, problems.errors)
    assert "north/record.csv: row 2, field sex: none of female, male (diverse); add it" in line
    assert problems.warnings == []


def test_what_follows_from_a_table_that_cannot_be_read_is_not_noted_again(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    (root / "north" / "record.csv").write_text('patient_id,age\nN000,"50\n')
    problems = validate(root, read_declaration(root), images=False, progress=False).problems
    assert len(problems.errors) == 1
    assert [line for line in map(str, problems.warnings) if "no patient of" in line or "no modality" in line] == []


def test_hospitals_are_text(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    north = pd.read_csv(root / "north" / "patients.csv", dtype=str)
    for name in ("patients", "record"):
        (root / f"{name}.csv").write_text((root / "north" / f"{name}.csv").read_text())
    codes = ["01", "1", "1E3", "1000"]
    edit(root / "patients.csv", birth_date=lambda cells: [codes[place % 4] for place in range(len(cells))])
    declare_otherwise(root, hospitals={"column": "birth_date", "names": {"01": "riverside"}})
    found = validate(root, read_declaration(root), images=False, progress=False)
    assert {site.name: len(site.patients) for site in found.sites} == dict.fromkeys(
        ("riverside", "1", "1e3", "1000"), len(north) // 4
    )


def test_hospitals_that_would_be_called_alike_are_refused(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    (root / "patients.csv").write_text("patient_id,clinic,glioblastoma\na,St. Mary,0\nb,St Mary,1\n")
    declare_otherwise(root, hospitals={"column": "clinic"})
    problems = validate(root, read_declaration(root), images=False, progress=False).problems
    assert "two hospitals, St. Mary and St Mary, would be called 'st_mary'" in str(problems.errors[0])


def test_a_cohort_without_record_columns_is_packed(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    declared = {"labels": ["glioblastoma"], "record": []}
    declare_otherwise(root, dictionary=declared)
    assert pack(root, tmp_path / "packed")["found"]["north"]["record"] == 0
    table = pd.read_parquet(tmp_path / "packed" / "north" / "patients.parquet")
    assert not table["record"].any() and set(table["record_values"]) == {"{}"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"os_event": "censorship"},
            "censored or alive, say os_event: {from: censorship, values: {0: 1, 1: 0}}",
        ),
        (
            {"os_days": "survival_months"},
            "is named after months; say os_days: {from: survival_months, scale: 30.4375}",
        ),
        ({"os_days": "follow_up"}, "if they are months or years, say os_days: {from: follow_up, scale: 30.4375}"),
    ],
)
def test_survival_that_its_column_belies_is_warned_of_with_what_to_write(tmp_path, columns, words):
    root = write_cohort(tmp_path / "cohort")
    path = root / "north" / "patients.csv"
    table = pd.read_csv(path, dtype=str).rename(columns=columns)
    if "follow_up" in table:
        table["follow_up"] = [f"{12 + place / 7:.2f}" for place in range(len(table))]
    table.to_csv(path, index=False)
    names = {name: columns.get(name, name) for name in ("glioblastoma", "os_event", "os_days")}
    declare_otherwise(root, hospitals=["north"], sources={"patients": {"file": "patients.csv", "columns": names}})
    problems = validate(root, read_declaration(root), images=False, progress=False).problems
    assert [line for line in map(str, problems.warnings) if words in line]


def test_a_fraction_among_whole_days_is_an_error(tmp_path):
    root = write_cohort(tmp_path / "cohort")
    table = pd.read_csv(root / "north" / "patients.csv").astype({"os_days": float})
    table.loc[0, "os_days"] = 1.46
    table.to_parquet(root / "north" / "patients.parquet", index=False)
    (root / "north" / "patients.csv").unlink()
    problems = validate(root, read_declaration(root), images=False, progress=False).problems
    assert "1 of 24 times are no whole numbers, the first of patient N000 (1.46); days are whole" in str(
        problems.errors[0]
    )


def test_words_may_stand_beside_numbers_of_what_is_measured(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,age\na,50\nb,> 89\nc,61.5\nd,\n")
    source = TableSource.model_validate({"file": "t.csv", "columns": {"age": {"values": {"> 89": 90}}}})
    measured = Kinds(numbers=["age"], measured=["age"])
    assert read_source(tmp_path, source, kinds=measured)["age"].tolist()[:3] == [50, 90, 61.5]
    problems = Problems()
    coded = read_source(tmp_path, source, kinds=Kinds(numbers=["age"]), problems=problems)["age"]
    assert coded.dropna().tolist() == [90], "where numbers are codes, each needs its word"
    assert [problem.value for problem in problems.errors] == ["50", "61.5"]


def test_codes_that_are_numbers_leave_no_number_unsaid(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,age\na,1\nb,2\nc,3\n")
    source = TableSource.model_validate({"file": "t.csv", "columns": {"age": {"values": {1: 40, 2: 60}}}})
    problems = Problems()
    found = read_source(tmp_path, source, kinds=Kinds(numbers=["age"], measured=["age"]), problems=problems)["age"]
    assert found.tolist()[:2] == [40, 60] and pd.isna(found.iloc[2])
    assert [problem.value for problem in problems.errors] == ["3"]


def test_what_cannot_be_read_costs_its_cells_and_rows_and_no_more(tmp_path):
    (tmp_path / "t.tsv").write_text(
        "patient_id\tos_days\tage\tldh\na\t1095\t61.5\t200\nb\t1.460\tsixty\t210\n\t3\t50\t1\na\t7\t40\t220\nc\t2.190\t55\t230\n"
    )
    columns = {"os_days": "os_days", "age": {"scale": 2}, "ldh": "ldh"}
    source = TableSource.model_validate({"file": "t.tsv", "columns": columns})
    problems = Problems()
    found = read_source(tmp_path, source, kinds=Kinds(numbers=["os_days", "ldh"]), problems=problems)
    assert found.index.tolist() == ["a", "b", "c"]
    assert found["os_days"].dropna().to_dict() == {"a": 1095}
    assert found["age"].dropna().to_dict() == {"a": 123, "c": 110}
    assert found["ldh"].tolist() == [200, 210, 230]
    assert [(problem.field, problem.row, problem.value) for problem in problems.errors] == [
        ("patient_id", 4, ""),
        ("patient_id", 5, "a"),
        ("os_days", 3, "1.460"),
        ("age", 3, "sixty"),
    ]
    assert "in 2 rows, the first" in problems.errors[2].finding
