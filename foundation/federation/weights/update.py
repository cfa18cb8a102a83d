"""A site's update: what its round changed, as strategies, screening and history see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foundation.federation.weights.types import Arrays, Weights


@dataclass
class SiteUpdate:
    """What a round changed at a site, or the sum of several sites' changes; its arrays may lie on disk.

    Attributes:
        difference: by parameter, to the weights that the round started from; a name that is missing did not change.
        samples: by parameter group, patients that trained it.
        control: change of the site's control variate (SCAFFOLD).
        metrics: of its training.
        norms: by parameter group, length of the difference.
        size: bytes that came.
    """

    difference: Arrays
    samples: Mapping[str, int]
    control: Arrays = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    norms: Mapping[str, float] = field(default_factory=dict)
    size: int = 0

    def flat(self, name: str, like: NDArray[np.generic]) -> NDArray[np.generic]:
        """A parameter's difference, flat; without memory of its own where the parameter did not change.

        Args:
            name: of the parameter.
            like: the parameter, for its size.
        """
        if name not in self.difference:
            return np.broadcast_to(np.zeros((), like.dtype), like.size)
        value = np.asarray(self.difference[name]).reshape(-1)
        # An unsigned number that fell has gone round; seen as a signed one it is the fall.
        return value.view(f"i{value.itemsize}") if value.dtype.kind == "u" else value


def difference(before: Arrays, after: Arrays) -> Weights:
    """What a round changed, by parameter, in the parameter's own type; what it did not change is left out."""
    changes = ((name, np.asarray(value - before[name], dtype=value.dtype)) for name, value in after.items())
    return {name: change for name, change in changes if change.any()}
