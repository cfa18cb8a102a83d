"""What an answer may bring beside its arrays: so many names, of such a length, numbers of such a size.

The bounds are far beyond what any site of a release sends. They keep a server's memory, ledger and history whatever a
site sends.
"""

import math
import re
from collections.abc import Mapping

_MOST = 20_000  # names of one kind; statistics of all genes travel as arrays
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_LARGEST = 1e15
_LONGEST = 16 << 20  # characters of all facts together


def fits(samples: Mapping[str, int], metrics: Mapping[str, float], facts: Mapping[str, str | float]) -> None:
    """Holds what came to the bounds.

    Args:
        samples: by parameter group.
        metrics: by name; what is no finite number is a site's way to say that its training blew up.
        facts: by name.

    Raises:
        ValueError: naming the kind, and quoting nothing.
    """
    for kind, values in (("samples", samples), ("metrics", metrics), ("facts", facts)):
        if len(values) > _MOST or not all(_NAME.fullmatch(name) for name in values):
            raise ValueError(f"{kind} beyond {_MOST}, or with a name that is none")
    numbers = [*samples.values(), *metrics.values(), *(value for value in facts.values() if not isinstance(value, str))]
    if any(math.isfinite(value) and abs(value) > _LARGEST for value in numbers):
        raise ValueError(f"a number beyond {_LARGEST:g}")
    if sum(len(value) for value in facts.values() if isinstance(value, str)) > _LONGEST:
        raise ValueError(f"texts longer than {_LONGEST} characters")
