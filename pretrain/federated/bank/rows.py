"""Rows of the shared bank at the server: held against what was asked for, and dealt to the other sites."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.weights.types import Arrays, Weights
from pretrain.federated.bank.settings import BankSettings

Rows = dict[str, NDArray[np.float32]]

_ROUNDING = 1e-3  # of a length


def check_rows(rows: Arrays, settings: BankSettings, site: str, width: int) -> None:
    """Holds what a site sent against what it was asked for.

    Args:
        rows: as they came.
        settings: of the run.
        site: that sent them.
        width: of the run's embeddings.

    Raises:
        UserError: naming site and modality.
    """
    for name, values in rows.items():
        where = f"site {site}: bank.{name}"
        if name not in settings.modalities:
            raise UserError(f"{where}: was not asked for; asked were {', '.join(settings.modalities)}")
        if values.ndim != 2 or values.shape[1] != width or values.dtype.kind != "f":
            raise UserError(f"{where}: {values.dtype} of shape {values.shape}; rows of {width} numbers were asked for")
        if not settings.least <= len(values) <= settings.limit:
            raise UserError(f"{where}: {len(values)} rows; {settings.least} to {settings.limit} were asked for")
        lengths = np.linalg.norm(values.astype(np.float64), axis=1)
        if not bool((np.abs(lengths - 1) < _ROUNDING).all()):  # so written, NaN fails, too
            raise UserError(f"{where}: holds rows that are not of unit length; leave this site out")


def for_site(by_site: Mapping[str, Arrays], site: str) -> Weights:
    """Everybody else's rows, for one site's next round.

    They stand sorted by their first value: nothing in their order says which hospital they are from.

    Args:
        by_site: what each sent.
        site: whose own patients are left out: it has them itself, and they are no negatives of its own.
    """
    others = [rows for name, rows in by_site.items() if name != site]
    dealt: Weights = {}
    for name in sorted({name for rows in others for name in rows}):
        together = np.concatenate([np.asarray(rows[name], dtype=np.float32) for rows in others if name in rows])
        dealt[name] = together[np.lexsort(together.T[::-1])]
    return dealt
