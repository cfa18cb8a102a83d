"""What an answer may bring beside its arrays: so many names, of such a length, numbers of such a size.

The bounds are far beyond what any site of a release sends. They keep a server's memory, ledger and history whatever a
site sends.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import RecordDict

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


def content_bytes(content: RecordDict) -> int:
    """Bytes of all arrays and values, their names included. Flower's own count fails at an empty string."""
    total = sum(record.count_bytes() for record in content.array_records.values())
    values: Iterable[Mapping[str, Any]] = [*content.metric_records.values(), *content.config_records.values()]
    return total + sum(len(name) + _size(value) for record in values for name, value in record.items())


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(_size(one) for one in value)
    return len(value) if isinstance(value, str | bytes) else 8
