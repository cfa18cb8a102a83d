"""Flower's SecAgg+ workflow for one round of our own orders.

Keys and shares stay Flower's, masks are drawn by `masks`. Added are the order, and that sites may leave before shares
are exchanged.
"""

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict
from flwr.common import FitIns, Parameters, parameters_to_ndarrays
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow
from flwr.serverapp import Grid

from foundation.federation.secure.masks import replace_flowers_masks
from foundation.federation.secure.summing_grid import SummingGrid


class Workflow(SecAggPlusWorkflow):
    """SecAgg+ in which every site shares its key with every other.

    Args:
        order: what the training stage brings to the sites.
        threshold: sites that must stay to the end.
        levels: of quantisation; see `settings.levels`.
        seconds: the longest that a stage's answers are waited for; None waits for all.
        extra: by node, records of its order that no other gets.
    """

    def __init__(
        self,
        order: RecordDict,
        threshold: int,
        levels: int,
        seconds: float | None,
        extra: Mapping[int, Mapping[str, ArrayRecord]],
    ) -> None:
        # Weight 1 for everybody, of 1 at most: Flower multiplies by it before quantising, so any other loses precision.
        super().__init__(1.0, threshold, max_weight=1.0, clipping_range=1.0, quantization_range=levels, timeout=seconds)
        self._order = order
        self._extra = extra

    def setup_stage(self, grid: Grid, context: LegacyContext, state: Any) -> bool:
        """Keys; and our order in the place of the legacy one."""
        going = super().setup_stage(grid, context, state)
        orders = {node: RecordDict({**self._order, **self._extra.get(node, {})}) for node in state.nid_to_fitins}
        state.nid_to_fitins = orders
        return going

    def share_keys_stage(self, grid: Grid, context: LegacyContext, state: Any) -> bool:
        """Shares of keys; who has gone by now masks nothing, and nobody holds its shares.

        Flower asks for them all the same when it unmasks, and the round would end there.
        """
        going = super().share_keys_stage(grid, context, state)
        present = set(state.active_node_ids)
        state.sampled_node_ids = present
        state.nid_to_neighbours = {node: state.nid_to_neighbours[node] & present for node in present}
        return going and self._check_threshold(state)


class SumStrategy:
    """The legacy strategy that Flower's workflow asks: it hands out empty orders and keeps the sum.

    Args:
        nodes: of the sites.
    """

    def __init__(self, nodes: Collection[int]) -> None:
        self._proxies = [SimpleNamespace(node_id=node) for node in nodes]  # of a legacy proxy, its number is asked
        self.mean: Parameters | None = None
        self.nodes: list[int] = []

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> list[tuple[Any, FitIns]]:
        """One for each site."""
        return [(proxy, FitIns(Parameters([], ""), {})) for proxy in self._proxies]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[Any, Any]], failures: list[Any]
    ) -> tuple[None, dict[str, Any]]:
        """Keeps the mean, which Flower put into every result, and who is in it."""
        self.mean = results[0][1].parameters
        self.nodes = [proxy.node_id for proxy, _ in results]
        return None, {}


def mean_of(
    grid: SummingGrid, nodes: Mapping[str, int], workflow: Workflow, number: int
) -> tuple[list[np.ndarray], list[int]] | None:
    """Runs the workflow: the mean of the sites' vectors and the nodes in it; None if too few stayed."""
    replace_flowers_masks()
    watched = cast(Grid, grid)  # the workflow calls send_and_receive alone
    strategy = SumStrategy(nodes.values())
    state = RecordDict(
        {MAIN_CONFIGS_RECORD: ConfigRecord({WorkflowKey.CURRENT_ROUND: number}), MAIN_PARAMS_RECORD: ArrayRecord()}
    )
    workflow(watched, LegacyContext(Context(0, 0, {}, state, {}), strategy=cast(Any, strategy)))
    return None if strategy.mean is None else (parameters_to_ndarrays(strategy.mean), strategy.nodes)
