"""Reports: which file is whose, how many become one, which words give an outcome away, what is refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.data.problems import DataError, Problems
from foundation.modalities.report.leaks import leak_problems, leaking_text
from foundation.modalities.report.texts import join_reports, read_texts

KNOWN = {"P1", "P12", "TCGA-02-0001", "TCGA-02-0001-B", "7"}


def test_text_files_are_joined_in_date_order(tmp_path: Path) -> None:
    files = {
        "P1_2020-03-01.txt": "second\r\nline",
        "P1_20191231.txt": " first ",
        "P1_addendum.txt": "undated",
        "P12/a.txt": "\N{BYTE ORDER MARK}other",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "P12" / "b.txt.gz").write_bytes(gzip.compress(b"packed"))
    problems = Problems()
    rows = read_texts(tmp_path, "**/*.*", ["P1", "P12"], None, problems)
    assert problems.listed == []
    joined = join_reports(rows, tmp_path)
    assert joined["text"].to_dict() == {"P12": "other\n\npacked", "P1": "first\n\nsecond\nline\n\nundated"}
    assert joined["date"].to_dict() == {"P12": pd.NaT, "P1": pd.Timestamp("2020-03-01")}


def test_a_table_of_reports_is_joined_likewise() -> None:
    rows = pd.DataFrame(
        {"text": ["b", "c", " ", None, "a"], "date": ["2020-02-01", None, "2020", None, "2019-05-01T10:00:00Z"]},
        index=pd.Index(["x", "x", "y", "z", "x"], name="patient_id"),
    )
    joined = join_reports(rows, Path("reports.csv"))
    assert joined["text"].to_dict() == {"x": "a\n\nb\n\nc"}
    assert joined["date"].tolist() == [pd.Timestamp("2020-02-01")]
    assert join_reports(rows[["text"]], Path("reports.csv"))["text"].to_dict() == {"x": "b\n\nc\n\na"}


def test_the_same_note_counts_once() -> None:
    rows = pd.DataFrame(
        {"text": ["a", "b", " a ", "a"], "date": ["2020-02-01", "2020-01-01", "2020-03-01", "2020-01-01"]},
        index=pd.Index(["x", "x", "x", "y"], name="patient_id"),
    )
    assert join_reports(rows, Path("reports.csv"))["text"].to_dict() == {"x": "b\n\na", "y": "a"}


def texts(name: str, content: str | bytes) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        problems = Problems()
        assert read_texts(folder, "*.*", KNOWN, None, problems).empty
        raise DataError(problems.errors[0])

    return build


def table(**columns: list[object]) -> Callable[[Path], object]:
    frame = pd.DataFrame({"patient_id": ["a", "b"], **columns}).set_index("patient_id")
    return lambda folder: join_reports(frame, folder / "reports.csv")


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda folder: read_texts(folder, "*.txt", KNOWN, None, Problems()), r"\*\.txt: no such file"),
    "nobody's": (texts("P13.txt", "x"), r"P13\.txt: names no patient"),
    "empty": (texts("P1.txt", ""), r"P1\.txt: empty file"),
    "blank": (texts("P1.txt", " \n\t"), r"P1\.txt: empty file"),
    "only a mark": (texts("P1.txt", b"\xef\xbb\xbf"), r"P1\.txt: empty file"),
    "Latin-1": (texts("P1.txt", "Größe\nß".encode("latin-1")), r"P1\.txt: row 1: not UTF-8 text \(byte 0xf6\)"),
    "UTF-16": (texts("P1.txt", "Tumour".encode("utf-16")), r"P1\.txt: is UTF-16 text"),
    "binary": (texts("P1.txt", b"Tumour\0\1"), r"P1\.txt: binary, not text"),
    "PDF": (texts("P1.txt", b"%PDF-1.4 x"), r"P1\.txt: is a PDF document"),
    "Word": (texts("P1.txt", b"PK\3\4 x"), r"P1\.txt: is an Excel workbook or ZIP"),
    "old Word": (texts("P1.txt", b"\xd0\xcf\x11\xe0 x"), r"P1\.txt: is an old"),
    "RTF": (texts("P1.txt", r"{\rtf1\ansi Tumour}"), r"P1\.txt: marked-up text, no plain text \({\\rtf\)"),
    "HTML": (texts("P1.txt", "<html><p>Tumour"), r"P1\.txt: is a web page"),
    "XML": (texts("P1.txt", '<?xml version="1.0"?><report/>'), r"P1\.txt: marked-up text"),
    "gzip cut off": (texts("P1.txt.gz", gzip.compress(b"Tumour" * 99)[:-9]), r"P1\.txt\.gz: truncated or damaged gzip"),
    "no text column": (table(report=["x", "y"]), r"reports\.csv: field text: no column 'text'"),
    "number for text": (table(text=["x", 3]), r"reports\.csv: field text: no text at patient b \(3\)"),
    "no date": (table(text=["x", "y"], date=["2020", "spring"]), r"field date: no ISO date at patient b \(spring\)"),
    "another's date": (table(text=["x", "y"], date=["2020", "1.2.2020"]), r"patient b \(1\.2\.2020\); write dates as"),
}


@pytest.mark.parametrize(("build", "line"), CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_report_is_refused_in_one_line(tmp_path: Path, build: Callable[[Path], object], line: str) -> None:
    with pytest.raises(DataError, match=line) as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_one_bad_file_does_not_hide_the_next(tmp_path: Path) -> None:
    for name, text in {"P1.txt": "good", "P12.txt": "", "Q.txt": "x"}.items():
        (tmp_path / name).write_text(text)
    problems = Problems()
    assert read_texts(tmp_path, "*.txt", KNOWN, None, problems)["text"].to_dict() == {"P1": "good"}
    assert [Path(problem.file).name for problem in problems.errors] == ["P12.txt", "Q.txt"]


@pytest.mark.parametrize(
    "text",
    [
        "The patient died in May.",
        "Deceased.",
        "Autopsy was performed.",
        "Post-mortem examination",
        "postmortem specimen",
        "Relapsed after 3 months",
        "Recurrence after radiotherapy",
        "recurrent high grade glioma",
        "lost to follow-up",
        "survived for 14 months",
        "Survival 14.72 months",
        "overall survival is poor",
        "date of death: unknown",
        "No residual tumour. He died.",
        "passed away",
        "EXPIRED",
    ],
)
def test_outcome_words_are_found(text: str) -> None:
    assert leaking_text(pd.Series({"a": text}))["severity"].tolist() == ["warning"]


@pytest.mark.parametrize(
    "text",
    [
        "No evidence of recurrence.",
        "negative for local recurrence",
        "at high risk of recurrence",
        "Mother died of breast cancer",
        "Family history: sister deceased",
        "apoptotic cell death",
        "There was no sign of relapse",
    ],
)
def test_what_is_denied_or_said_of_others_is_a_note(text: str) -> None:
    assert leaking_text(pd.Series({"a": text}))["severity"].tolist() == ["note"]


@pytest.mark.parametrize(
    "text",
    [
        "Programmed death ligand 1 (PD-L1) positive",
        "Oncotype DX recurrence score 12",
        "recurrent laryngeal nerve",
        "The indeadly studied autopsied",
        "survival",
        "Diedrich, surgeon",
        "G2, pT2 pN1 (3/14), Ki-67 20 %",
        "",
    ],
)
def test_what_is_no_outcome_is_not_found(text: str) -> None:
    assert leaking_text(pd.Series({"a": text})).empty


def test_a_report_written_after_the_event_weighs_more() -> None:
    found = pd.Series({"a": "He died.", "b": "He died.", "c": "He died.", "d": "no recurrence", "e": None})
    dates = pd.Series(
        {"a": pd.Timestamp("2020-02-01"), "b": pd.Timestamp("2020-01-31"), "d": pd.Timestamp("2021-01-01")}
    )
    events = pd.Series(pd.Timestamp("2020-02-01"), index=list("abcde"))
    findings = leaking_text(found, dates, events)
    assert findings["patient_id"].tolist() == ["a", "b", "c", "d"]
    assert findings["severity"].tolist() == ["error", "warning", "warning", "note"]
    assert [found["a"][start:end] for start, end in findings[["start", "end"]].to_numpy()[:1]] == ["died"]
    problems = leak_problems(findings, "reports.csv")
    assert [problem.severity for problem in problems.listed] == ["error", "warning", "warning", "warning"]
    assert str(problems.listed[0]) == (
        "reports.csv: field text: patient a: outcome words in a report written on or after the event (died); "
        "leave this report out, or cut what was written after the prediction is made"
    )
    assert leak_problems(findings[:0], "reports.csv").listed == []


@given(
    st.lists(st.sampled_from(["He died", "no recurrence", "necrosis", "12 months", "survived", ".", "\n"]), max_size=8)
)
def test_findings_point_at_their_words(parts: list[str]) -> None:
    text = " ".join(parts)
    for row in leaking_text(pd.Series({"a": text})).itertuples():
        assert text[row.start : row.end].lower() == row.word
