"""Flower's SecAgg+ workflow for one round of our own orders, and what goes wrong on the way, by site.

Masks, keys and shares stay Flower's. Added are: the order as ours; sites that leave before shares are exchanged; bytes
and reasons by site; masked vectors of a wrong shape refused.
"""

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common import FitIns, FitRes, Parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow, WorkflowState
from flwr.serverapp import Grid

_LEGACY = "fitres."  # records that only Flower's legacy types need
_REASON = 300  # characters
_HEADER = 256  # bytes that hold the header of a flat array


class Workflow(SecAggPlusWorkflow):
    """SecAgg+ in which every site shares its key with every other.

    Args:
        order: what the training stage brings to the sites.
        threshold: sites that must stay to the end.
        levels: of quantisation; see `settings.levels`.
        seconds: the longest that a stage's answers are waited for; None waits for all.
    """

    def __init__(self, order: RecordDict, threshold: int, levels: int, seconds: float | None) -> None:
        # Weight 1 for everybody, of 1 at most: Flower multiplies by it before quantising, so any other loses precision.
        super().__init__(1.0, threshold, max_weight=1.0, clipping_range=1.0, quantization_range=levels, timeout=seconds)
        self._order = order

    def setup_stage(self, grid: Grid, context: LegacyContext, state: WorkflowState) -> bool:
        """Keys; and our order in the place of the legacy one."""
        going = super().setup_stage(grid, context, state)
        state.nid_to_fitins = {node: RecordDict({**self._order}) for node in state.nid_to_fitins}
        return going

    def share_keys_stage(self, grid: Grid, context: LegacyContext, state: WorkflowState) -> bool:
        """Shares of keys; who has gone by now masks nothing, and nobody holds its shares.

        Flower asks for them all the same when it unmasks, and the round would end there.
        """
        going = super().share_keys_stage(grid, context, state)
        present = set(state.active_node_ids)
        state.sampled_node_ids = present
        state.nid_to_neighbours = {node: state.nid_to_neighbours[node] & present for node in present}
        return going and self._check_threshold(state)


class Sum(FedAvg):
    """The legacy strategy that Flower's workflow asks: it hands out empty orders and keeps the sum.

    Args:
        proxies: of the sites' nodes.
    """

    def __init__(self, proxies: list[ClientProxy]) -> None:
        super().__init__()
        self._proxies = proxies
        self.mean: Parameters | None = None
        self.nodes: list[int] = []

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """One for each site."""
        return [(proxy, FitIns(Parameters([], ""), {})) for proxy in self._proxies]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[ClientProxy, FitRes]], failures: list[Any]
    ) -> tuple[None, dict[str, Any]]:
        """Keeps the mean, which Flower put into every result, and who is in it."""
        self.mean = results[0][1].parameters
        self.nodes = [proxy.node_id for proxy, _ in results]
        return None, {}


class Watched:
    """A grid that notes bytes, reasons and the open part of replies, for the workflow.

    Args:
        grid: Flower's.
        sites: names by node.
        shapes: of the masked vectors, the weight's first.
        training_seconds: deadline of the stage in which sites train; the other stages have the workflow's own.
    """

    def __init__(
        self, grid: Grid, sites: Mapping[int, str], shapes: list[tuple[int, ...]], training_seconds: float | None
    ) -> None:
        self._grid = grid
        self._sites = sites
        self._shapes = shapes
        self._training_seconds = training_seconds
        self.absent: dict[str, str] = {}
        self.replies: dict[str, RecordDict] = {}
        self.to_site: Counter[str] = Counter()
        self.from_site: Counter[str] = Counter()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """As the grid's; only replies that the workflow can use come back."""
        sent = list(messages)
        stage = str(sent[0].content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]) if sent else ""
        training = stage == Stage.COLLECT_MASKED_VECTORS
        seconds = self._training_seconds if training else timeout
        waiting = {self._sites[message.metadata.dst_node_id] for message in sent}
        for message in sent:
            self.to_site[self._sites[message.metadata.dst_node_id]] += _bytes(message.content)
        kept = []
        for reply in self._grid.send_and_receive(sent, timeout=seconds):
            site = self._sites[reply.metadata.src_node_id]
            waiting.discard(site)
            reason = self._unusable(site, reply, training)
            if reason is None:
                kept.append(reply)
            else:
                self.absent[site] = f"{stage}: {reason}"
        self.absent |= dict.fromkeys(waiting, f"{stage}: no answer in {seconds or 0:g} s")
        return kept

    def _unusable(self, site: str, reply: Message, training: bool) -> str | None:
        if reply.has_error():
            said = str(reply.error.reason or f"code {reply.error.code}").strip()
            return f"the node failed: {(said.splitlines() or [''])[-1][:_REASON]}"
        self.from_site[site] += _bytes(reply.content)
        if training:
            self.replies[site] = RecordDict(
                {
                    name: record
                    for name, record in reply.content.items()
                    if name != RECORD_KEY_CONFIGS and not name.startswith(_LEGACY)
                }
            )
        if RECORD_KEY_CONFIGS not in reply.content.config_records:
            records = reply.content.config_records.values()
            reasons = [str(record["declined"]) for record in records if "declined" in record]
            return f"declined: {reasons[0]}" if reasons else "answered without a masked update"
        if training:
            vectors = cast(list[bytes], reply.content.config_records[RECORD_KEY_CONFIGS][Key.MASKED_PARAMETERS])
            if [_shape(vector) for vector in vectors] != self._shapes:
                return "masked vectors of other shapes than the order's"
        return None


def mean_of(
    grid: Watched, nodes: Mapping[str, int], workflow: Workflow, number: int
) -> tuple[list[np.ndarray], list[int]] | None:
    """Runs the workflow: the mean of the sites' vectors and the nodes in it; None if too few stayed."""
    watched = cast(Grid, grid)  # the workflow calls send_and_receive alone
    strategy = Sum([GridClientProxy(node, watched, run_id=0) for node in nodes.values()])
    state = RecordDict(
        {MAIN_CONFIGS_RECORD: ConfigRecord({WorkflowKey.CURRENT_ROUND: number}), MAIN_PARAMS_RECORD: ArrayRecord()}
    )
    workflow(watched, LegacyContext(Context(0, 0, {}, state, {}), strategy=strategy))
    return None if strategy.mean is None else (parameters_to_ndarrays(strategy.mean), strategy.nodes)


def _bytes(content: RecordDict) -> int:
    """Of all arrays and values, their names included. Flower's own count fails at an empty string."""
    total = sum(record.count_bytes() for record in content.array_records.values())
    values: Iterable[Mapping[str, Any]] = [*content.metric_records.values(), *content.config_records.values()]
    return total + sum(len(name) + _size(value) for record in values for name, value in record.items())


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(_size(one) for one in value)
    return len(value) if isinstance(value, str | bytes) else 8


def _shape(vector: bytes) -> tuple[int, ...] | None:
    """Of a masked vector, read from its first bytes alone; None if it is none of 64-bit integers."""
    start = io.BytesIO(vector[:_HEADER])
    try:
        if np.lib.format.read_magic(start) != (1, 0):
            return None
        shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    except ValueError:
        return None
    return shape if dtype == np.int64 and len(vector) == start.tell() + 8 * math.prod(shape) else None
