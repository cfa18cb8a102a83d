"""Answers and outcomes of one hospital, under keyed hashes of its patients: rows that can be taken out again.

Nothing else of a patient is kept than what was answered, by quarter, and what came of it. The key lies beside the rows
and stays at the hospital: who has it and an id can look its patient up, which is how outcomes find their answers.
"""

import hashlib
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.errors import UserError
from foundation.files import SECRET, write_bytes

FILE, KEY = "answers.sqlite", "feedback.key"
_KEY_BYTES = 32
_TABLES = """
CREATE TABLE IF NOT EXISTS asked (patient TEXT, version TEXT, quarter TEXT NOT NULL, shadow INTEGER NOT NULL,
    abstained INTEGER NOT NULL, flags TEXT NOT NULL, look INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (patient, version));
CREATE TABLE IF NOT EXISTS chances (patient TEXT, version TEXT, output TEXT, chance REAL NOT NULL,
    look INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (patient, version, output));
CREATE TABLE IF NOT EXISTS outcomes (patient TEXT, output TEXT, value INTEGER NOT NULL, quarter TEXT NOT NULL,
    PRIMARY KEY (patient, output));
"""


@dataclass(frozen=True)
class Answer:
    """What a release said of a patient.

    Attributes:
        patient: the id by which the outcome will come.
        version: of the release.
        chances: by output, from 0 to 1.
        flags: by modality used, whether it is out of distribution; None where that is not told.
        abstained: whether the release abstains.
    """

    patient: str
    version: str
    chances: Mapping[str, float]
    flags: Mapping[str, bool | None]
    abstained: bool


class Store:
    """The rows of a hospital.

    Args:
        folder: of them; made where it is not there.

    Raises:
        UserError: if the key is missing beside rows, or is none.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        key = folder / KEY
        if self.path.is_file() and not key.is_file():
            raise UserError(f"{key}: missing, by which patients in {FILE} are known; restore it")
        if not key.is_file():
            _make_key(key)
        self._key = key.read_bytes()
        if len(self._key) != _KEY_BYTES:  # an empty one hashes without any key: whoever knows ids could try them
            raise UserError(f"{key}: found {len(self._key)} bytes, not {_KEY_BYTES}; restore it")
        if not self.path.is_file():
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, SECRET))
        with self._rows() as rows:
            rows.executescript(_TABLES)

    def name_of(self, patient: str) -> str:
        """What stands for a patient: 128 bits of keyed BLAKE2b (RFC 7693); a header holds no blanks around an id."""
        return hashlib.blake2b(patient.strip().encode(), digest_size=16, key=self._key).hexdigest()

    def keep(self, answers: Iterable[Answer], quarter: str, shadow: bool) -> Counter[str]:
        """Keeps each patient's first answer of a release; how many were `kept`, `repeated`, and `late`.

        A later answer would count a patient's outcome twice, and one that came after the outcome foretells nothing.
        """
        counts: Counter[str] = Counter()
        with self._rows() as rows:
            for answer in answers:
                name = self.name_of(answer.patient)
                if rows.execute("SELECT 1 FROM outcomes WHERE patient = ?", (name,)).fetchone():
                    counts["late"] += 1
                    continue
                flags = json.dumps({key: flag for key, flag in answer.flags.items() if flag is not None})
                row = (name, answer.version, quarter, shadow, answer.abstained, flags)
                columns = "(patient, version, quarter, shadow, abstained, flags)"
                added = rows.execute(f"INSERT OR IGNORE INTO asked {columns} VALUES (?, ?, ?, ?, ?, ?)", row)
                counts["kept" if added.rowcount else "repeated"] += 1
                if added.rowcount:
                    parts = [(name, answer.version, output, chance) for output, chance in answer.chances.items()]
                    rows.executemany(
                        "INSERT INTO chances (patient, version, output, chance) VALUES (?, ?, ?, ?)", parts
                    )
        return counts

    def add_outcomes(self, outcomes: Iterable[tuple[str, str, int]], quarter: str) -> Counter[str]:
        """Adds (patient, output, 0 or 1); how many were `new`, `known`, `corrected`, and of whom `nobody asked`.

        Of patients whom nobody asked about nothing is kept. A corrected one counts in figures from now on; tests that
        have counted the earlier one go on with it, for what was bet on cannot be taken back.
        """
        counts: Counter[str] = Counter()
        with self._rows() as rows:
            for patient, output, value in outcomes:
                name = self.name_of(patient)
                if not rows.execute(
                    "SELECT 1 FROM chances WHERE patient = ? AND output = ?", (name, output)
                ).fetchone():
                    counts["nobody asked"] += 1
                    continue
                query = "SELECT value FROM outcomes WHERE patient = ? AND output = ?"
                earlier = rows.execute(query, (name, output)).fetchone()
                if earlier is None:
                    rows.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?)", (name, output, value, quarter))
                elif earlier[0] != value:
                    rows.execute(
                        "UPDATE outcomes SET value = ? WHERE patient = ? AND output = ?", (value, name, output)
                    )
                counts["new" if earlier is None else "known" if earlier[0] == value else "corrected"] += 1
        return counts

    def forget(self, patients: Iterable[str]) -> int:
        """Takes out all rows of patients; of how many there were any. What was overwritten is zeros on disk."""
        names, found = [(self.name_of(patient),) for patient in patients], 0
        with self._rows() as rows:
            for name in names:
                gone = [rows.execute(f"DELETE FROM {t} WHERE patient = ?", name).rowcount for t in _NAMES]
                found += any(gone)
        return found

    def judged(self, version: str) -> pd.DataFrame:
        """Answers whose outcome is known: patient, output, quarter of the answer, shadow, chance, value, look."""
        query = (
            "SELECT c.patient, c.output, a.quarter, a.shadow, c.chance, o.value, c.look FROM chances c"
            " JOIN asked a USING (patient, version) JOIN outcomes o USING (patient, output) WHERE c.version = ?"
        )
        return self._frame(query, version)

    def asked(self, version: str) -> pd.DataFrame:
        """All that a release was asked: patient, quarter, shadow, abstained, flags by modality, look."""
        query = "SELECT patient, quarter, shadow, abstained, flags, look FROM asked WHERE version = ?"
        table = self._frame(query, version)
        return table.assign(flags=[json.loads(text) for text in table["flags"]])

    def count(self, version: str, look: int, judged: pd.DataFrame, asked: pd.DataFrame) -> None:
        """Notes in which look, from 1, tests count these rows: for good, once that look stands in the ledger."""
        with self._rows() as rows:
            for row in judged.itertuples():
                values = (look, row.patient, version, row.output)
                rows.execute("UPDATE chances SET look = ? WHERE patient = ? AND version = ? AND output = ?", values)
            for row in asked.itertuples():
                rows.execute(
                    "UPDATE asked SET look = ? WHERE patient = ? AND version = ?", (look, row.patient, version)
                )

    def _frame(self, query: str, version: str) -> pd.DataFrame:
        with self._rows() as rows:
            return pd.read_sql_query(query, rows, params=(version,))

    @contextmanager
    def _rows(self) -> Iterator[Any]:
        """A transaction: all of it is written, or nothing."""
        try:
            connection = sqlite3.connect(self.path, timeout=60)
            try:
                connection.execute("PRAGMA secure_delete = ON")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path}: cannot be read or written ({error}); make room, or restore it") from error


def _make_key(path: Path) -> None:
    """Makes a key, once where several processes of a host begin at a time: the first one's is that of all."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_bytes(fresh, secrets.token_bytes(_KEY_BYTES), mode=SECRET)
    try:
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


_NAMES = ("asked", "chances", "outcomes")
