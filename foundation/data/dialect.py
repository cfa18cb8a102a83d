"""How a hospital writes its text tables: separator, encoding, decimal sign, thousands."""

import codecs
from typing import Literal

from pydantic import Field, field_validator, model_validator

from foundation.data.strict import Strict, Word


class Dialect(Strict):
    """What a declaration may say of a text table; of Parquet, JSON lines and AnnData, only `missing` is asked.

    Args:
        delimiter: between cells; by the file's ending if None (`.csv` comma, `.tsv` and `.txt` tab).
        encoding: of the characters, such as `cp1252` or `utf-16`.
        decimal: sign of decimals. None is a point, but then numbers like 1.460 that may be thousands are refused.
        thousands: sign between groups of three digits, if there is one.
        missing: cells that mean unknown, in any column; no other word does, and blank cells always do.
        row_names: whether rows begin with a name that the header lacks, as R writes them; its column is called `''`.
    """

    delimiter: Literal[",", ";", "\t", "|"] | None = None
    encoding: str = "utf-8"
    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ",", " ", "'"] | None = None
    missing: list[Word] = Field([])
    row_names: bool = False

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            b"".decode(codecs.lookup(encoding).name)
        except (LookupError, ValueError) as error:
            raise ValueError(f"no encoding of text: '{encoding}'; give utf-8, cp1252, latin-1, utf-16 …") from error
        return encoding

    @model_validator(mode="after")
    def _two_signs(self) -> "Dialect":
        if self.thousands is not None and self.thousands == self.decimal_sign:
            raise ValueError("decimal and thousands are one sign; give both")
        return self

    @property
    def decimal_sign(self) -> str:
        """The sign of decimals."""
        return self.decimal or "."
