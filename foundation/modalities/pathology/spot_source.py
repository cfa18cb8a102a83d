"""The declaration of spatial transcriptomics among a hospital's pathology."""

from pathlib import PurePath

from pydantic import Field, field_validator

from foundation.data.dialect import Dialect


class SpotSettings(Dialect):
    """How spots become tiles with expression.

    Args:
        picture: of the section at full resolution, a glob from the file's folder on (`../wsis/{stem}.tif`, too), in
            which `{stem}` is the file's name up to its first point; the picture that the file brings if None.
        positions: of a table of counts: the table of `x` and `y`, beside it, `{stem}` likewise.
        diameter: of a spot in full-resolution pixels, where the file does not say.
        around: side of the square that is cut around a spot, in diameters.
        counts: whether values are counts, to be normalised by spot; else they are taken as they are.
    """

    picture: str | None = None
    positions: str = "positions.csv"
    diameter: float | None = Field(None, gt=0, allow_inf_nan=False)
    around: float = Field(2.0, gt=0, allow_inf_nan=False)
    counts: bool = True

    @field_validator("picture", "positions")
    @classmethod
    def _beside(cls, name: str | None) -> str | None:
        if name is not None and (not PurePath(name).name or PurePath(name).is_absolute()):
            raise ValueError(f"'{name}' is no name beside the file of spots; give one such as {{stem}}.tif")
        return name
