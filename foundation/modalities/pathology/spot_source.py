"""The declaration of spatial transcriptomics among a hospital's pathology."""

from pydantic import Field

from foundation.data.dialect import Dialect


class SpotSettings(Dialect):
    """How spots become tiles with expression.

    Args:
        picture: of the section at full resolution, a glob beside the file, in which `{stem}` is the file's name up to
            its first point; the picture that the file brings if None.
        positions: of a table of counts: the table of `x` and `y`, beside it, `{stem}` likewise.
        diameter: of a spot in full-resolution pixels, where the file does not say.
        around: side of the square that is cut around a spot, in diameters.
        counts: whether values are counts, to be normalised by spot; else they are taken as they are.
    """

    picture: str | None = None
    positions: str = "positions.csv"
    diameter: float | None = Field(None, gt=0)
    around: float = Field(2.0, gt=0)
    counts: bool = True
