"""OMOP and Synthea extracts: the same columns, index and survival as from FHIR."""

import contextlib
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from foundation.data.database_tables import names_of, read_database
from foundation.data.declaration import declare
from foundation.data.fhir import read_fhir, read_fhir_survival
from foundation.data.fhir_source import FhirSource
from foundation.data.problems import DataError, Problems
from foundation.data.validation import validate

OMOP = {
    "person.csv": "person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,person_source_value\n"
    "1,8532,1950,1,1,A-01\n2,8507,1960,,,A-02\n3,0,1970,6,15,A-03\n",
    "condition_occurrence.csv": "condition_occurrence_id,person_id,condition_concept_id,condition_start_date\n"
    "1,1,4112853,2010-01-01\n2,1,201826,2011-05-05\n3,2,4112853,2012-07-01 00:00:00\n",
    "measurement.csv": "person_id,measurement_concept_id,measurement_date,value_as_number,unit_source_value,"
    "unit_concept_id,operator_concept_id,value_as_concept_id\n"
    "1,3004249,2010-01-02,120,mm[Hg],8876,,\n1,3004249,2010-03-01,140.5,mm[Hg],8876,,\n"
    "2,3004249,2012-07-02,5,mm[Hg],8876,4171756,0\n2,999,2012-07-02,,,,,45884084\n1,5,2014-02-01,9,kg,,,\n",
    "death.csv": "person_id,death_date\n2,2013-07-01\n",
    "observation_period.csv": "person_id,observation_period_start_date,observation_period_end_date\n"
    "1,2000-01-01,2015-01-01\n2,2000-01-01,2013-07-01\n",
}
COLUMNS = {
    "age": {"path": "patient.age_at"},
    "sex": {"path": "patient.gender", "values": {"female": "F", "male": "M", "unknown": "U"}},
    "pressure": {"observation": "omop|3004249", "unit": "mm[Hg]", "pick": "last", "bounds": True},
    "er": {"observation": "omop|999", "values": {"omop|45884084": "positive"}},
    "diabetes": {"condition": "omop|201826"},
}


def source(**changes: object) -> FhirSource:
    content = {"files": "cdm/*", "form": "omop", "index": "omop|4112853", "columns": COLUMNS, **changes}
    return FhirSource.model_validate(content)


@pytest.fixture(params=["csv", "upper", "parquet", "database"])
def cdm(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The extract as text, as databases with capital names write it, as Parquet with types, and as a database."""
    (tmp_path / "cdm").mkdir()
    for name, text in OMOP.items():
        path = tmp_path / "cdm" / name
        path.write_text(text)
        if request.param == "upper":
            header, rest = text.split("\n", 1)
            path.write_text(f"{header.upper()}\n{rest}")
            path.rename(path.with_name(name.upper()))
        if request.param == "database":
            with contextlib.closing(sqlite3.connect(tmp_path / "cdm/extract.db")) as database:
                pd.read_csv(path).to_sql(path.stem.upper(), database, index=False)
            path.unlink()
        if request.param == "parquet":
            pd.read_csv(path).to_parquet(path.with_suffix(".parquet"), index=False)
            path.unlink()
    return tmp_path


def test_a_record_is_read_from_omop_tables(cdm: Path):
    record = read_fhir(cdm, source())
    assert record.index.tolist() == ["1", "2", "3"]
    assert record["age"].iloc[0] == pytest.approx(60, abs=0.01)
    assert record["age"].iloc[1] == pytest.approx(52, abs=0.01)  # a year alone stands for its 1 July
    assert pd.isna(record["age"].iloc[2])
    assert record["sex"].tolist() == ["F", "M", "U"]
    assert record["pressure"].tolist()[:2] == [140.5, 5.0]
    assert record["er"].tolist()[1:2] == ["positive"] and pd.isna(record["er"].iloc[0])
    assert record["diabetes"].tolist() == [1, 0, 0]


def test_survival_begins_with_the_index_and_ends_with_death_or_the_last_day_seen(cdm: Path):
    problems = Problems()
    survival = read_fhir_survival(cdm, source(), problems=problems)
    assert survival.loc["1"].tolist() == [0, 1826]  # 2010-01-01 to 2015-01-01
    assert survival.loc["2"].tolist() == [1, 365]
    assert [problem.value for problem in problems.warnings] == ["3"]


def test_patients_are_known_by_the_id_of_their_hospital(cdm: Path):
    assert read_fhir(cdm, source(identifier="person_source_value")).index.tolist() == ["A-01", "A-02", "A-03"]


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("person.csv", "person_id,", "pid,", r"person\.csv: field person_id: no such column"),
        ("person.csv", "\n2,", "\n,", r"person\.csv: row 3, field person_id: empty; every row needs its patient"),
        ("person.csv", "year_of_birth", "PERSON_ID", r"field person_id: stands in small and in capital letters"),
        ("death.csv", "2,2013-07-01", "2,", r"death\.csv: row 2, field death_date: no date of death"),
        ("death.csv", "2013-07-01", "20130701", r"death\.csv: row 2, field deceasedDateTime: .*no FHIR date"),
        ("death.csv", "2,2013-07-01\n", "2,2013-07-01\n2,2014-07-01\n", r"row 3, .*died on another day already"),
        ("measurement.csv", "140.5", "1e400", r"row 3, field value_as_number: no number \(1e400\)"),
        ("person.csv", "\n2,", "\n1,", r"person\.csv: row 3, field person_id: patient stands twice \(1\)"),
        ("person.csv", "1950", "195x", r"person\.csv: row 2, field birthDate: .*no FHIR date"),
        ("measurement.csv", "140.5", "high", r"measurement\.csv: row 3, field value_as_number: no number \(high\)"),
        ("measurement.csv", "\n2,3004249", "\n9,3004249", r"row 4, field person_id: refers to no patient .*\(9\)"),
        ("measurement.csv", "140.5,mm[Hg]", "140.5,kPa", r"unit is not the declared 'mm\[Hg\]' \(kPa\)"),
        ("condition_occurrence.csv", "2010-01-01", "01.01.2010", r"row 2, field onsetDateTime: .*no FHIR date"),
    ],
)
def test_damage_is_one_line_with_file_and_row(name: str, old: str, new: str, words: str, tmp_path: Path):
    (tmp_path / "cdm").mkdir()
    for file, text in OMOP.items():
        (tmp_path / "cdm" / file).write_text(text.replace(old, new) if file == name else text)
    with pytest.raises(DataError, match=words) as caught:
        read_fhir(tmp_path, source())
    assert "\n" not in str(caught.value)


def test_ids_and_codes_may_be_written_as_fractions(tmp_path: Path):
    (tmp_path / "cdm").mkdir()
    for file, text in OMOP.items():
        written = text.replace("1,3004249,2010-03", "1.0,3004249.0,2010-03").replace("1950,1,1", "1950.0,1.0,1.0")
        (tmp_path / "cdm" / file).write_text(written)
    record = read_fhir(tmp_path, source())
    assert record.loc["1", "pressure"] == 140.5
    assert record.loc["1", "age"] == pytest.approx(60, abs=0.01)


def test_a_day_last_seen_in_another_form_is_refused_not_passed_over(tmp_path: Path):
    (tmp_path / "cdm").mkdir()
    for file, text in OMOP.items():
        (tmp_path / "cdm" / file).write_text(text)
    with (tmp_path / "cdm" / "observation_period.csv").open("a") as file:
        file.write("1,2015-01-01,01/01/2016\n")
    with pytest.raises(DataError, match=r"observation_period\.csv: row 4, .*no FHIR date.*\(01/01/2016\)"):
        read_fhir_survival(tmp_path, source())


def test_a_missing_table_is_named(tmp_path: Path):
    (tmp_path / "cdm").mkdir()
    (tmp_path / "cdm" / "person.csv").write_text(OMOP["person.csv"])
    with pytest.raises(DataError, match=r"cdm/\*: no table condition_occurrence; export it too"):
        read_fhir(tmp_path, source())


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("cdm.db", r"cdm\.db: no SQLite database, or damaged; export it again, or write its tables as CSV or Parquet"),
        ("cdm.duckdb", r"cdm\.duckdb: a database that is not read here; .*EXPORT DATABASE 'cdm' \(FORMAT parquet\)"),
    ],
)
def test_what_is_no_database_that_is_read_is_one_line(file: str, words: str, tmp_path: Path):
    (tmp_path / "cdm").mkdir()
    (tmp_path / "cdm" / file).write_text("no database, though its name says so" * 100)
    with pytest.raises(DataError, match=words) as caught:
        read_fhir(tmp_path, source())
    assert "\n" not in str(caught.value)


def test_a_table_in_a_file_and_in_a_database_is_refused(tmp_path: Path):
    (tmp_path / "cdm").mkdir()
    (tmp_path / "cdm/person.csv").write_text(OMOP["person.csv"])
    with contextlib.closing(sqlite3.connect(tmp_path / "cdm/extract.sqlite")) as database:
        pd.DataFrame({"person_id": [1]}).to_sql("person", database, index=False)
    with pytest.raises(DataError, match=r"person\.csv: another table person is in extract\.sqlite; keep one"):
        read_fhir(tmp_path, source())


@pytest.mark.parametrize("folder", ["100%25", "who?", "#1"])
def test_a_database_is_read_from_a_folder_of_any_name(folder: str, tmp_path: Path):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "extract.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        pd.DataFrame({"person_id": [1]}).to_sql("person", database, index=False)
    assert names_of(path) == ["person"]
    assert read_database(path, "person", ["person_id"])["person_id"].tolist() == [1]


def test_a_view_is_read_like_a_table_and_one_that_never_ends_is_given_up(tmp_path: Path):
    path = tmp_path / "extract.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        pd.DataFrame({"person_id": range(1000)}).to_sql("people", database, index=False)
        database.execute("CREATE VIEW person AS SELECT person_id FROM people WHERE person_id > 9")
        count = "WITH RECURSIVE n(person_id) AS (SELECT 1 UNION ALL SELECT person_id + 1 FROM n) SELECT"
        database.execute(f"CREATE VIEW death AS {count} person_id FROM n WHERE person_id < 0")
    assert sorted(names_of(path)) == ["death", "people", "person"]
    assert len(read_database(path, "person", ["person_id"])) == 990
    with pytest.raises(DataError, match=r"extract\.sqlite: a view that may never end; keep what it shows as a table"):
        read_database(path, "death", ["person_id"])


SYNTHEA = {
    "patients.csv": "Id,BIRTHDATE,DEATHDATE,GENDER\np1,1950-01-01,,F\np2,1960-01-01,2013-07-01,M\n",
    "conditions.csv": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\n2010-01-01,,p1,e,254837009,Breast\n"
    "2012-07-01,,p2,e,254837009,Breast\n",
    "observations.csv": "DATE,PATIENT,ENCOUNTER,CATEGORY,CODE,DESCRIPTION,VALUE,UNITS,TYPE\n"
    "2010-01-02T08:00:00Z,p1,e,v,8480-6,Systolic,120,mm[Hg],numeric\n"
    "2010-01-02T08:00:00Z,p2,e,v,72166-2,Smoking,Never smoker,,text\n",
    "encounters.csv": "Id,START,STOP,PATIENT\ne,2014-01-01T08:00:00Z,2014-01-01T09:00:00Z,p1\n",
}


def test_a_cohort_of_synthea_tables_is_declared_in_a_screen(tmp_path: Path):
    (tmp_path / "a" / "csv").mkdir(parents=True)
    for name, text in SYNTHEA.items():
        (tmp_path / "a" / "csv" / name).write_text(text)
    place = {"files": "csv/*.csv", "form": "synthea", "index": "http://snomed.info/sct|254837009"}
    columns = {
        "age": {"path": "patient.age_at"},
        "sex": {"path": "patient.gender"},
        "pressure": {"observation": "http://loinc.org|8480-6", "unit": "mm[Hg]"},
        "smoking": {"observation": "http://loinc.org|72166-2", "values": {"Never smoker": "never"}},
    }
    content = {
        "name": "s",
        "synthetic": True,
        "description": "x",
        "hospitals": ["a"],
        "sources": {"patients": place, "record": {**place, "columns": columns}},
        "dictionary": {
            "record": [
                {"name": "age", "kind": "continuous", "center": 55, "scale": 10},
                {"name": "sex", "kind": "categorical", "values": ["female", "male"]},
                {"name": "pressure", "kind": "continuous", "center": 120, "scale": 20},
                {"name": "smoking", "kind": "categorical", "values": ["never", "ever"]},
            ],
            "survival": {"event": "os_event", "time": "os_days"},
        },
    }
    validation = validate(tmp_path, declare(content, tmp_path), progress=False)
    assert validation.problems.errors == []
    (site,) = validation.sites
    assert site.patients.loc["p1"].tolist() == [0, 1461]
    assert site.patients.loc["p2"].tolist() == [1, 365]
    assert site.tables["record"]["sex"].tolist() == ["female", "male"]
    assert site.tables["record"]["pressure"].dropna().tolist() == [120.0]
    assert site.tables["record"]["smoking"].dropna().tolist() == ["never"]
