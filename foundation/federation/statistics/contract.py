"""The contract of a site's statistics before training: sums and counts, never a patient."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Name = Literal["counts", "expression", "stain", "record", "survival"]
NAMES: tuple[Name, ...] = get_args(Name)

# A count that is None was withheld: it is small, or another small one could be worked out from it.
Count = Annotated[int, Field(ge=0)] | None
Cells = dict[str, Count]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]
_Row = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Known(_Section):
    """A label: of how many it is known, and how many of those are positive.

    Of a label of several classes all but the first (index 0) count as positive: this statistic tells two groups apart.
    """

    known: Count
    positive: Count


class Counts(_Section):
    """How many patients have what.

    Attributes:
        patients: all.
        modality: by modality, those who have it.
        combination: by names joined with `+`, those who have these and no others.
        label: by label of the data dictionary.
        hospital: by hospital.
    """

    patients: Count
    modality: Cells
    combination: Cells
    label: dict[str, Known]
    hospital: Cells


class Expression(_Section):
    """Moments of expression a gene, over patients of whom it was measured; None where too few were.

    Attributes:
        unit: of the data dictionary.
        genes: by symbol.
        count: patients, `[genes]`.
        mean: in that unit, `[genes]`.
        m2: sum of squared deviations from the mean, `[genes]`.
    """

    unit: str
    genes: list[str]
    count: list[Count]
    mean: list[FiniteFloat | None]
    m2: list[NotNegative | None]

    @model_validator(mode="after")
    def _one_a_gene(self) -> Self:
        for name in ("count", "mean", "m2"):
            if len(getattr(self, name)) != len(self.genes):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.genes)} genes")
        if len(set(self.genes)) < len(self.genes):
            raise ValueError("a gene is there twice")
        if any(len({value is None for value in gene}) > 1 for gene in zip(self.count, self.mean, self.m2, strict=True)):
            raise ValueError("count, mean and m2 of a gene are withheld together or not at all")
        return self


class Stain(_Section):
    """Optical density of tissue in red, green and blue, over pixels of pathology images drawn by seed.

    Attributes:
        patients: with images.
        images: drawn.
        pixels: of tissue in them.
        mean: optical density to base 10, `[3]`.
        m2: sum of outer products of the deviations, `[3][3]`; over pixels - 1 it is the covariance.
    """

    patients: Count
    images: Count
    pixels: Count
    mean: Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)] | None
    m2: Annotated[list[_Row], Field(min_length=3, max_length=3)] | None


class Numbers(_Section):
    """Moments of one column; None where too few are known."""

    count: Count
    mean: FiniteFloat | None
    m2: NotNegative | None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if len({value is None for value in (self.count, self.mean, self.m2)}) > 1:
            raise ValueError("count, mean and m2 are withheld together or not at all")
        return self


class Record(_Section):
    """The clinical record. A share that is missing follows from `patients` and what is known.

    Attributes:
        patients: who have a record.
        numbers: by continuous column.
        levels: by categorical column, patients at each level.
    """

    patients: Count
    numbers: dict[str, Numbers]
    levels: dict[str, Cells]


class Survival(_Section):
    """Follow-up.

    Attributes:
        events: among those followed.
        time: of follow-up, in the unit of the patients' table; its count is of those followed.
    """

    events: Count
    time: Numbers


class SiteStatistics(_Section):
    """Of one site, or of several pooled.

    Attributes:
        sites: whose.
        counts: see there; None where not asked for, not allowed or not held, like the others.
        expression: likewise.
        stain: likewise.
        record: likewise.
        survival: likewise.
        withheld: `site: cell` of every cell that a site withheld; a pooled count without it is at least so large.
    """

    sites: list[str]
    counts: Counts | None = None
    expression: Expression | None = None
    stain: Stain | None = None
    record: Record | None = None
    survival: Survival | None = None
    withheld: list[str] = Field(default_factory=list)

    @property
    def names(self) -> tuple[Name, ...]:
        """Of the statistics that are there."""
        return tuple(name for name in NAMES if getattr(self, name) is not None)

    def only(self, names: Iterable[str]) -> "SiteStatistics":
        """Those of some names, as a policy allows."""
        left: dict[str, None] = {name: None for name in NAMES if name not in set(names)}
        withheld = [cell for cell in self.withheld if section_of(cell) not in left]
        return self.model_copy(update={**left, "withheld": withheld})


def section_of(withheld: str) -> str:
    """The statistic that a withheld cell belongs to."""
    return withheld.rpartition(": ")[2].partition("/")[0]
