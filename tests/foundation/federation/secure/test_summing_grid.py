"""Masked vectors are added up as they come."""

import tracemalloc

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.common import bytes_to_ndarray, ndarray_to_bytes
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage

from foundation.federation.secure.settings import MODULUS
from foundation.federation.secure.summing_grid import SummingGrid
from tests.foundation.federation.secure_sites import a_task  # noqa: F401 - a fixture for every test here


class Lazily:
    """A grid whose replies come into being when they are fetched."""

    def __init__(self, values: int) -> None:
        self.values = values
        self.sent: list[Message] = []

    def push_messages(self, messages: list[Message]) -> list[str]:
        self.sent = messages
        return [str(number) for number in range(len(messages))]

    def pull_messages(self, numbers: list[str]) -> list[Message]:
        vectors = [ndarray_to_bytes(np.full(size, MODULUS - 3, np.int64)) for size in (1, self.values)]
        said = ConfigRecord({Key.MASKED_PARAMETERS: vectors})
        return [Message(RecordDict({RECORD_KEY_CONFIGS: said}), reply_to=self.sent[int(number)]) for number in numbers]


def peak_and_sum(sites: int) -> tuple[int, np.ndarray]:
    values = 200_000
    grid = SummingGrid(
        Lazily(values), {node: str(node) for node in range(1, sites + 1)}, [(1,), (values,)], MODULUS, None
    )  # type: ignore[arg-type]
    order = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord({Key.STAGE: Stage.COLLECT_MASKED_VECTORS})})
    messages = [Message(order, node, MessageType.TRAIN) for node in range(1, sites + 1)]
    tracemalloc.start()
    replies = grid.send_and_receive(messages)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    vectors = [reply.content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS] for reply in replies]
    return peak, sum(bytes_to_ndarray(pair[1]) for pair in vectors) % MODULUS


def test_the_server_holds_one_sites_vectors_besides_the_sum_however_many_sites_answer():
    few, total = peak_and_sum(3)
    many, more = peak_and_sum(12)
    assert (total == MODULUS - 9).all() and (more == MODULUS - 36).all()
    assert many < 1.05 * few
