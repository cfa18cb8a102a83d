"""Tables of a SQLite database, as extracts of a common data model are handed on; opened for reading alone."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from foundation.data.problems import refuse

if TYPE_CHECKING:  # where it is used it is imported, for few cohorts are of a database
    from sqlalchemy import Connection

# Steps of SQLite's machine before reading is given up: a table takes fewer for each byte that it holds, and a view of
# somebody else's may run for ever.
_STEPS_A_BYTE, _STEPS = 100, 10_000_000
_CHECKED_EVERY = 100_000
ENDINGS = (".sqlite", ".sqlite3", ".db")
OTHERS = (".duckdb",)
_ADVICE = "write its tables as Parquet, in DuckDB: EXPORT DATABASE 'cdm' (FORMAT parquet)"


def names_of(path: Path) -> list[str]:
    """The tables and views of a database, as it calls them.

    Raises:
        DataError: if it is no SQLite database.
    """
    if path.suffix.lower() in OTHERS:
        raise refuse(path, "a database that is not read here", _ADVICE)
    from sqlalchemy import inspect

    with _open(path) as connection:
        inspector = inspect(connection)
        return [*inspector.get_table_names(), *inspector.get_view_names()]


def read_database(path: Path, name: str, wanted: Collection[str]) -> pd.DataFrame:
    """A table's columns of those wanted, cells as stored; the index counts rows from 1.

    Raises:
        DataError: if it cannot be read.
    """
    from sqlalchemy import column, inspect, table

    with _open(path) as connection:
        there = [str(each["name"]) for each in inspect(connection).get_columns(name)]
        columns = [each for each in there if each in wanted]
        query = table(name, *(column(each) for each in columns)).select()
        rows = [tuple(row) for row in connection.execute(query)] if columns else []
    return pd.DataFrame(rows, pd.RangeIndex(1, len(rows) + 1, name="row"), columns, dtype=object)


@contextmanager
def _open(path: Path) -> "Iterator[Connection]":
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    address = f"{path.absolute().as_uri()}?mode=ro"  # of a path with ?, # or %, too
    left = _STEPS + _STEPS_A_BYTE * (path.stat().st_size if path.is_file() else 0)

    def is_spent() -> bool:
        nonlocal left
        left -= _CHECKED_EVERY
        return left < 0

    def connected() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True)
        connection.set_progress_handler(is_spent, _CHECKED_EVERY)
        return connection

    engine = create_engine("sqlite://", creator=connected, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        if left < 0:
            raise refuse(path, "a view that may never end", "keep what it shows as a table") from error
        finding = "no SQLite database, or damaged"
        raise refuse(path, finding, "export it again, or write its tables as CSV or Parquet") from error
    finally:
        engine.dispose()
