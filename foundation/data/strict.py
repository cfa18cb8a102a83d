"""Parts that declarations are made of: strict models, words of cells, patterns with one group."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

WHOLE = r"^([+-]?\d+)\.0+$"  # one exporter writes a code as 1, the next as 1.0


def _word(value: Any) -> Any:
    """YAML reads unquoted `NO`, `off` and `yes` as booleans: nobody means that in a list of codes."""
    if isinstance(value, bool):
        raise ValueError("YAML reads this word as true or false; put it in quotes")
    return re.sub(WHOLE, r"\1", str(value)) if isinstance(value, int | float | str) else value


Word = Annotated[str, BeforeValidator(_word)]


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    if groups > 1:
        raise ValueError("more than one group; use (?:...) for all but the one that counts")
    return pattern


Pattern = Annotated[str, AfterValidator(_one_group)]


def with_group(pattern: str) -> str:
    """The pattern with its group, which is the whole match where it has none."""
    return pattern if re.compile(pattern).groups else f"({pattern})"


class Strict(BaseModel):
    """A part of a declaration; a field that nobody reads is refused, and numbers may stand for words."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, coerce_numbers_to_str=True)
