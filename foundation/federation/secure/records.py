"""The records of Flower's SecAgg+ messages, its mod, and the legacy result that the mod masks."""

from collections.abc import Iterable
from typing import cast

import numpy as np
from flwr.app import RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, bytes_to_ndarray, ndarray_to_bytes, ndarrays_to_parameters
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common.recorddict_compat import fitres_to_recorddict

__all__ = [
    "LEGACY",
    "RECORD_KEY_CONFIGS",
    "UNMASKED",
    "Key",
    "Stage",
    "bytes_to_ndarray",
    "masked_vectors",
    "put_masked_vectors",
    "result_records",
    "secaggplus_mod",
]

LEGACY = "fitres."  # begins the names of a result's records
UNMASKED = f"{LEGACY}parameters"


def result_records(arrays: list[np.ndarray]) -> RecordDict:
    """A site's arrays as the result that the mod masks."""
    result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(arrays), num_examples=1, metrics={})
    return fitres_to_recorddict(result, keep_input=False)


def masked_vectors(content: RecordDict) -> list[bytes]:
    """The masked vectors of a reply, as numpy writes them."""
    return cast(list[bytes], content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS])


def put_masked_vectors(content: RecordDict, vectors: Iterable[np.ndarray]) -> None:
    """Puts other vectors in the place of a reply's."""
    record = content.config_records[RECORD_KEY_CONFIGS]
    record[Key.MASKED_PARAMETERS] = [ndarray_to_bytes(vector) for vector in vectors]
