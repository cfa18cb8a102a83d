"""What is asked and answered: a named question, arrays of a site, and their total over the sites."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.weights.types import Arrays

Numbers = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class SiteSums:
    """A site's part of a sum.

    Attributes:
        arrays: by name, of whole or real numbers.
        patients: behind them.
        counts: names of the arrays whose every cell counts patients, so that small ones are few people.
    """

    arrays: Numbers
    patients: int
    counts: tuple[str, ...] = ()


@dataclass
class Sums:
    """The total over the sites.

    Attributes:
        arrays: by name, float64; int32 where every site sent whole numbers of one or two bytes.
        sites: that are in it, in the run's order.
        by_site: each one's own arrays; empty where secure aggregation hides them.
        absent: why, by site that was asked and is not in the total.
    """

    arrays: Numbers
    sites: list[str]
    by_site: dict[str, Numbers] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


class Refused(UserError):  # noqa: N818 (nobody erred)
    """Too few sites answer, for policies of theirs say no; they will not answer another time."""


class Ask(Protocol):
    """How a task's server part asks the sites that are connected."""

    @property
    def refuses(self) -> bool:
        """Whether the run's privacy covers updates alone, so that no exact sum may be asked for."""

    @property
    def connected(self) -> Collection[str]:
        """Sites that can be asked now."""

    def __call__(
        self,
        name: str,
        weights: Arrays,
        shapes: Shapes,
        question: Arrays | None = None,
        sites: Collection[str] | None = None,
    ) -> Sums:
        """The total of what sites answer.

        Args:
            name: of the sums, as sites' policies (`statistics`) know them.
            weights: the model that the question is about; empty if about none.
            shapes: of the answer's arrays by name; without any, something is handed over, and receipt is all it tells.
            question: further arrays that go to the sites.
            sites: to ask; all that train if None.

        Raises:
            Refused: if too few sites answer because of their policies.
            UserError: if too few do for another reason.
        """
