"""The worklist: which studies were asked about, and how far each has come, in a file that survives a kill.

A study moves from `asked` to `answered` (the answer and all that is to be stored are in the file) to `stored`, or to
`refused` with one line that says why. Each move is one transaction, and holds the state that it comes from, so that an
answer is made once: who is killed between storing and noting stores the same bytes under the same identifiers again.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import SECRET
from foundation.locks import alone

FILE = "worklist.sqlite"
ASKED, ANSWERED, STORED, REFUSED = "asked", "answered", "stored", "refused"
_FORMAT = 1
_SCHEMA = f"""
CREATE TABLE model (name TEXT NOT NULL) STRICT;
CREATE TABLE studies (
    row INTEGER PRIMARY KEY,
    study TEXT NOT NULL UNIQUE,
    patient TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('{ASKED}', '{ANSWERED}', '{STORED}', '{REFUSED}')),
    instances INTEGER NOT NULL,
    changed REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    again REAL NOT NULL DEFAULT 0,
    line TEXT NOT NULL DEFAULT '',
    answer TEXT,
    CHECK ((state = '{REFUSED}') <= (line <> ''))
) STRICT;
CREATE TABLE outputs (
    uid TEXT PRIMARY KEY,
    row INTEGER NOT NULL REFERENCES studies (row),
    place INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;
"""
_COLUMNS = "row, study, patient, state, instances, changed, tries, failures, line"


@dataclass(frozen=True)
class Row:
    """A study of the worklist.

    Attributes:
        row: its number, by which logs name it.
        study: StudyInstanceUID.
        patient: PatientID of whom it was asked about.
        state: see the module.
        instances: of the study, when it was looked at last.
        changed: when their number changed last, seconds since 1970.
        tries: how often work on it began.
        failures: how often that failed of itself.
        line: why it was refused, or put off last.
    """

    row: int
    study: str
    patient: str
    state: str
    instances: int
    changed: float
    tries: int
    failures: int
    line: str


class Worklist:
    """The worklist of one model.

    Args:
        path: of the file; made where there is none, readable by its owner alone.
        model: whose answers it is about.

    Raises:
        UserError: if it is of another model, or none.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, SECRET))
        self._file = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            self._open(model)
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise UserError(f"{path}: no worklist of this release; move it away, and a new one is made") from error

    def _open(self, model: str) -> None:
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")  # what was told to be stored is there after a power cut, too
        with self._transaction():
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";\n")):
                    self._file.execute(statement)
                self._file.execute("INSERT INTO model VALUES (?)", (model,))
                self._file.execute(f"PRAGMA user_version = {_FORMAT}")
            (name,) = self._file.execute("SELECT name FROM model").fetchone()
        if name != model:
            self._file.close()
            raise UserError(f"{self._path}: is of the model {name}, not of {model}; give another output")

    def close(self) -> None:
        """Ends the use of the file."""
        self._file.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps others from working on the same list.

        Raises:
            UserError: if somebody does.
        """
        with alone(self._path.with_name(f".{self._path.name}.lock")) as mine:
            if not mine:
                raise UserError(f"{self._path}: another service works on it; stop that first")
            yield

    def ask(self, study: str, patient: str, instances: int = 0, now: float | None = None) -> bool:
        """Takes a study in; whether it is new. One that is there keeps its patient: see `ask_again`."""
        with self._transaction():
            values = (study, patient, ASKED, instances, time.time() if now is None else now)
            statement = "INSERT INTO studies (study, patient, state, instances, changed) VALUES (?, ?, ?, ?, ?)"
            return self._file.execute(f"{statement} ON CONFLICT (study) DO NOTHING", values).rowcount == 1

    def ask_again(self, study: str, patient: str) -> None:
        """Takes a study in, or anew where it was refused.

        Raises:
            UserError: if it was answered, or waits as another patient's.
        """
        if self.ask(study, patient):
            return
        with self._transaction():
            (row,) = self._rows("WHERE study = ?", (study,))
            if row.state in (ANSWERED, STORED):
                raise UserError("study: it was answered already; a study is answered once")
            if row.state == ASKED and row.patient != patient:
                raise UserError("patient: the study waits as another patient's; wait until it is answered or refused")
            facts = {"patient": patient, "state": ASKED, "failures": 0, "again": 0.0, "line": ""}
            self._move(row.row, row.state, facts)

    def known(self) -> set[str]:
        """All studies that were asked about."""
        return {study for (study,) in self._file.execute("SELECT study FROM studies")}

    def ready(self, most: int, now: float) -> list[Row]:
        """Studies to work on: those that need only be stored, then those that were tried least."""
        where = "WHERE state IN (?, ?) AND again <= ? ORDER BY state = ? DESC, tries, row LIMIT ?"
        return self._rows(where, (ASKED, ANSWERED, now, ANSWERED, most))

    def row(self, number: int) -> Row:
        """A study by its number, as it stands now."""
        (row,) = self._rows("WHERE row = ?", (number,))
        return row

    def rows(self, state: str) -> list[Row]:
        """All in a state."""
        return self._rows("WHERE state = ? ORDER BY row", (state,))

    def counts(self) -> dict[str, int]:
        """Studies by state."""
        counts = dict(self._file.execute("SELECT state, COUNT(*) FROM studies GROUP BY state").fetchall())
        return {state: counts.get(state, 0) for state in (ASKED, ANSWERED, STORED, REFUSED)}

    def begin(self, row: Row) -> None:
        """Counts a try, so that whatever kills the service is tried after all others."""
        with self._transaction():
            self._file.execute("UPDATE studies SET tries = tries + 1 WHERE row = ?", (row.row,))

    def grew(self, row: Row, instances: int, now: float) -> None:
        """Notes that a study has another number of instances than before."""
        with self._transaction():
            self._move(row.row, ASKED, {"instances": instances, "changed": now})

    def put_off(self, row: Row, until: float, line: str = "", failed: bool = False) -> None:
        """Leaves a study for later, and counts it where the study itself failed."""
        with self._transaction():
            facts = {"again": until, "line": line, "failures": row.failures + failed}
            self._move(row.row, row.state, facts)

    def answered(self, row: Row, answer: Mapping[str, Any], outputs: Mapping[str, bytes]) -> None:
        """Keeps an answer with all that is to be stored, by SOPInstanceUID, at once or not at all."""
        with self._transaction():
            facts = {"state": ANSWERED, "answer": json.dumps(answer), "failures": 0, "again": 0.0, "line": ""}
            self._move(row.row, ASKED, facts)
            for place, (uid, content) in enumerate(outputs.items()):
                self._file.execute("INSERT INTO outputs VALUES (?, ?, ?, ?)", (uid, row.row, place, content))

    def outputs(self, row: Row) -> dict[str, bytes]:
        """What of an answered study is to be stored, by SOPInstanceUID."""
        query = "SELECT uid, content FROM outputs WHERE row = ? ORDER BY place"
        return dict(self._file.execute(query, (row.row,)).fetchall())

    def stored(self, row: Row, line: str = "") -> None:
        """Notes that the archive has it; a copy is kept no longer."""
        with self._transaction():
            self._move(row.row, row.state, {"state": STORED, "line": line})
            self._file.execute("DELETE FROM outputs WHERE row = ?", (row.row,))

    def refused(self, row: Row, line: str) -> None:
        """Ends a study without an answer in the archive."""
        with self._transaction():
            self._move(row.row, row.state, {"state": REFUSED, "line": line})
            self._file.execute("DELETE FROM outputs WHERE row = ?", (row.row,))

    def answer(self, study: str) -> dict[str, Any] | None:
        """What was answered about a study; None where nothing was."""
        kept = self._file.execute("SELECT answer FROM studies WHERE study = ?", (study,)).fetchone()
        return None if kept is None or kept[0] is None else dict(json.loads(kept[0]))

    def _rows(self, where: str, values: Sequence[Any]) -> list[Row]:
        query = f"SELECT {_COLUMNS} FROM studies {where}"
        return [Row(*values) for values in self._file.execute(query, values).fetchall()]

    def _move(self, row: int, state: str, facts: Mapping[str, Any]) -> None:
        names = ", ".join(f"{name} = ?" for name in facts)
        done = self._file.execute(
            f"UPDATE studies SET {names} WHERE row = ? AND state = ?", (*facts.values(), row, state)
        )
        if done.rowcount != 1:
            raise RuntimeError(f"row {row} is not {state} any more: somebody else works on this list")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with closing(self._file.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
