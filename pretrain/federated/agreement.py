"""Whether sites pull the same way: cosines between their updates."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pretrain.federated.aggregation import group_of
from pretrain.federated.reception import Received


def agreement(updates: Mapping[str, Received], buffers: frozenset[str]) -> dict[str, float]:
    """By group, the mean cosine between the updates of the sites that trained it; 1 where all went the same way.

    Taken one parameter at a time, so that no more than one of each site is in memory. Statistics and counters, which
    move alike everywhere, are left out.
    """
    products: dict[str, Counter[tuple[str, str]]] = {}
    for name in dict.fromkeys(name for update in updates.values() for name in update.difference):
        if name in buffers:
            continue
        group = group_of(name)
        held = {
            site: _flat(update.difference[name])
            for site, update in updates.items()
            if update.samples.get(group) and name in update.difference
        }
        into = products.setdefault(group, Counter())
        for one, left in held.items():
            for other, right in held.items():
                if one <= other:
                    into[one, other] += float(left @ right)  # type: ignore[assignment]
    return {group: value for group, found in products.items() if (value := _cosine(found)) is not None}


def _flat(value: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64).ravel()


def _cosine(products: Mapping[tuple[str, str], float]) -> float | None:
    found = [
        value / math.sqrt(products[one, one] * products[other, other])
        for (one, other), value in products.items()
        if one != other and products[one, one] > 0 and products[other, other] > 0
    ]
    return float(np.mean(found)) if found else None
