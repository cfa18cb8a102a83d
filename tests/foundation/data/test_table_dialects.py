"""Generated tables in many dialects: each is read with exactly the values that were written, or refused.

`pytest -m slow tests/foundation/data/test_table_dialects.py` draws 10,000 tables, and prints how many were read.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.data.genes import GeneVocabulary
from foundation.data.problems import DataError
from foundation.data.tables import Kinds, TableSource, read_source
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import read_matrix

EXAMPLES = 60
NAMES = ["t.csv", "t.tsv", "t.txt"]
WORDS = ["None", "NA", "n/a", "null", "Diabetes", "0081", "1E3", "1.0", "COPD, severe", 'says "x"', "größer"]
MISSING = ["", "  ", "NA", "nan", "-", "#N/A", "[Not Available]", "-9"]


@dataclass(frozen=True)
class Written:
    """A table, and the way in which it is written."""

    cells: dict[str, list[Any]]
    delimiter: str
    encoding: str
    decimal: str
    thousands: str | None
    quoting: int
    missing: str
    newline: str
    declared: bool

    def dialect(self) -> dict[str, Any]:
        """What a declaration says of it: all, or nothing but the word for missing."""
        words = {"missing": [self.missing.strip()]} if self.missing.strip() else {}
        if not self.declared:
            return words
        signs = {"decimal": self.decimal, "thousands": self.thousands}
        return {**words, **signs, "delimiter": self.delimiter, "encoding": self.encoding}

    def write(self, path: Path) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.delimiter, quoting=self.quoting, lineterminator=self.newline)
        writer.writerow(self.cells)
        for row in zip(*self.cells.values(), strict=True):
            writer.writerow([self.cell(value) for value in row])
        path.write_bytes(text.getvalue().encode(self.encoding))

    def cell(self, value: Any) -> str:
        if value is None:
            return self.missing
        if isinstance(value, str):
            return value
        whole, _, fraction = f"{abs(value):f}".partition(".") if isinstance(value, float) else (str(abs(value)), "", "")
        if self.thousands:
            whole = f"{int(whole):,}".replace(",", self.thousands)
        fraction = fraction.rstrip("0")
        return ("-" if value < 0 else "") + whole + (self.decimal + fraction if fraction else "")


def numbers() -> st.SearchStrategy[Any]:
    whole = st.integers(0, 3_000_000)
    fractions = st.builds(lambda n, digits: n / 10**digits, st.integers(-9_999_999, 9_999_999), st.integers(1, 4))
    return st.one_of(whole, fractions, st.sampled_from([150_000, 230_000, 1460, 1.25, 1.46, 36.5]))


def ids() -> st.SearchStrategy[str]:
    return st.one_of(
        st.integers(0, 999).map(lambda n: f"{n:05}"),
        st.integers(10**15, 10**19).map(str),
        st.integers(0, 99).map(lambda n: f"P-{n}"),
        st.sampled_from(["1E3", "1000", "01", "1", "1.0", "NA", "None", "Ö 7", "a,b", "a;b"]),
    )


@st.composite
def tables(draw: st.DrawFn, patients: tuple[int, int] = (1, 6), number_names: tuple[str, ...] = ("n", "m")) -> Written:
    missing = draw(st.sampled_from(MISSING))
    names = draw(
        st.lists(ids().filter(lambda x: x != missing), min_size=patients[0], max_size=patients[1], unique=True)
    )
    rows = len(names)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        known = values.filter(
            lambda value: missing not in (str(value), f"{value:g}" if isinstance(value, float) else "")
        )
        return draw(st.lists(st.one_of(known, known, known, st.none()), min_size=rows, max_size=rows))

    cells: dict[str, list[Any]] = {"patient_id": names, "word": column(st.sampled_from(WORDS))}
    cells |= {name: column(numbers()) for name in number_names}
    decimal = draw(st.sampled_from([".", ","]))
    thousands = draw(st.sampled_from([None, ".", ",", " ", "\u202f", "'"]).filter(lambda sign: sign != decimal))
    encodings = ["utf-8", "utf-16"] if thousands == "\u202f" else ["utf-8", "utf-8-sig", "cp1252", "utf-16"]
    return Written(
        cells,
        draw(st.sampled_from([",", ";", "\t", "|"])),
        draw(st.sampled_from(encodings)),
        decimal,
        thousands,
        draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        missing,
        draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.booleans()),
    )


def declared(written: Written) -> dict[str, Any]:
    content = written.dialect()
    if content.get("thousands") == "\u202f":
        content["thousands"] = " "
    return content


def check_table(folder: Path, written: Written, name: str) -> str:
    """Whether a table was `read` exactly or `refused`; anything else fails."""
    written.write(folder / name)
    kinds = Kinds(numbers=["n", "m"], words={"word": [word for word in WORDS if word != written.missing]})
    try:
        found = read_source(folder, TableSource.model_validate({"file": name, **declared(written)}), kinds=kinds)
    except DataError:
        return "refused"
    assert found.index.tolist() == written.cells["patient_id"]
    for word, read in zip(written.cells["word"], found["word"], strict=True):
        assert read == word if word is not None else pd.isna(read)
    for column in ("n", "m"):
        for value, read in zip(written.cells[column], found[column], strict=True):
            if isinstance(read, str):  # noted as no number when the record is checked
                assert not written.declared, (value, read)
            else:
                assert pd.isna(read) if value is None else read == value, (value, read)
    return "read"


def check_matrix(folder: Path, written: Written, name: str) -> str:
    """The same of a table of genes."""
    written.write(folder / name)
    source = GeneSource.model_validate({"file": name, "annotation": ["word"], **declared(written)})
    try:
        found = read_matrix(folder / name, source, GeneVocabulary.shipped()).values
    except DataError:
        return "refused"
    assert found.index.tolist() == written.cells["patient_id"]
    for column in ("TP53", "EGFR"):
        for value, read in zip(written.cells[column], found[column], strict=True):
            assert np.isnan(read) if value is None else read == np.float32(value), (value, read)
    return "read"


@given(tables(), st.sampled_from(NAMES))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_table_is_read_exactly_or_refused(tmp_path_factory: Any, written: Written, name: str) -> None:
    check_table(tmp_path_factory.mktemp("dialect"), written, name)


@given(tables(number_names=("TP53", "EGFR")), st.sampled_from(NAMES[:2]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_matrix_is_read_exactly_or_refused(tmp_path_factory: Any, written: Written, name: str) -> None:
    check_matrix(tmp_path_factory.mktemp("matrix"), written, name)


@pytest.mark.slow
@pytest.mark.parametrize("check", [check_table, check_matrix])
def test_of_five_thousand_tables_each_is_read_exactly_or_refused(
    tmp_path: Path, check: Callable[[Path, Written, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """How many are read and refused is printed; those whose dialect is declared whole are read."""
    outcomes: Counter[tuple[bool, str]] = Counter()
    columns = ("n", "m") if check is check_table else ("TP53", "EGFR")

    @given(tables(number_names=columns), st.sampled_from(NAMES[: len(NAMES) - (check is check_matrix)]))
    @settings(max_examples=5000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def draw(written: Written, name: str) -> None:
        outcomes[written.declared, check(tmp_path, written, name)] += 1

    draw()
    with capsys.disabled():
        counts = {f"{'declared' if whole else 'undeclared'}, {how}": n for (whole, how), n in sorted(outcomes.items())}
        print(f"\n{check.__name__}: {outcomes.total()} tables: {counts}")
    assert outcomes.total() >= 5000
    assert outcomes[True, "read"] > outcomes[True, "refused"]
