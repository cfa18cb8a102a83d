"""Problems of a hospital's data, worded so that its data manager can mend them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from pydantic import ValidationError

from foundation.errors import UserError

P = ParamSpec("P")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Problem:
    """One finding.

    Args:
        file: where.
        finding: what was found there.
        advice: what to do.
        field: column, tag or key.
        row: of the file, the header being row 1.
        value: as it stands there, shortened.
        severity: errors stop a cohort, warnings are listed.
    """

    file: str
    finding: str
    advice: str
    field: str = ""
    row: int | None = None
    value: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = [f"row {self.row}"] if self.row is not None else []
        place += [f"field {self.field}"] if self.field else []
        value = f" ({self.value})" if self.value else ""
        text = ": ".join([self.file, ", ".join(place), f"{self.finding}{value}; {self.advice}"])
        return " ".join(text.replace(": : ", ": ").split())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"found" if name == "finding" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Step:
    """Something that was done to data, as declared: nothing wrong, but nothing silent.

    Args:
        file: where.
        rule: by which; for rows, what those are that were left out.
        count: of cells, rows or files.
        field: column.
        rows: whether rows of a patients' table were left out.
    """

    file: str
    rule: str
    count: int
    field: str = ""
    rows: bool = False


class DataError(UserError):
    """A file that cannot be used at all.

    Args:
        problem: what is wrong with it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def refuse(
    file: Path | str, finding: str, advice: str, field: str = "", row: int | None = None, value: Any = None
) -> DataError:
    """A `DataError` built from its parts, to be raised."""
    return DataError(Problem(str(file), finding, advice, field, row, shorten(value)))


def refuse_invalid(file: Path | str, error: ValidationError, advice: str, *within: str) -> DataError:
    """A `DataError` of the first field that a model refuses, to be raised; `within` is where the content stood."""
    first = error.errors()[0]
    parts = [*within, *map(str, first["loc"])]
    field = ".".join(part for part in parts if not part.startswith("("))  # those in brackets tell forms apart
    return refuse(file, first["msg"], advice, field=field, value=first.get("input"))


def shorten(value: Any, length: int = 40) -> str:
    """A value as a line can show it."""
    text = "" if value is None else str(value)
    return text if len(text) <= length else f"{text[:length]}..."


class Problems:
    """Collects findings, so that one pass over a cohort names them all, and what was done to its data."""

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.steps: list[Step] = []

    def tell(self, file: Path | str, rule: str, count: int, field: str = "", rows: bool = False) -> None:
        """Counts what was done to data; nothing where the count is zero."""
        if count > 0:
            self.steps.append(Step(str(file), rule, count, field, rows))

    def error(self, file: Path | str, finding: str, advice: str, **place: Any) -> None:
        """Notes what must be mended; `place` is `field`, `row` and `value`."""
        self.listed.append(refuse(file, finding, advice, **place).problem)

    def warn(self, file: Path | str, finding: str, advice: str, **place: Any) -> None:
        """Notes what should be looked at."""
        problem = refuse(file, finding, advice, **place).problem
        self.listed.append(replace(problem, severity="warning"))

    def attempt(self, read: Callable[P, Value], *args: P.args, **kwargs: P.kwargs) -> Value | None:
        """What `read` returns; None, with the problem noted, where it refuses."""
        try:
            return read(*args, **kwargs)
        except DataError as error:
            self.listed.append(error.problem)
        return None

    @property
    def errors(self) -> list[Problem]:
        """Those that stop a cohort."""
        return [problem for problem in self.listed if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """Those that do not."""
        return [problem for problem in self.listed if problem.severity == "warning"]

    def refuse_first(self) -> None:
        """Stops at the first error, if there is one.

        Raises:
            DataError: saying how many more there are.
        """
        if self.errors:
            first, more = self.errors[0], len(self.errors) - 1
            also = f" (and {more} more: python -m foundation.data validate lists them)" if more else ""
            raise DataError(replace(first, advice=first.advice + also))
