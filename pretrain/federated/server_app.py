"""The server's side: order a round, aggregate by modality, evaluate, write it down."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from omegaconf import DictConfig
from rich.console import Console

from foundation.errors import UserError
from pretrain.federated.aggregation import aggregate
from pretrain.federated.messages import Reply, pack_order, unpack_reply
from pretrain.federated.rounds import Rounds
from pretrain.federated.table import round_table
from pretrain.fit import Weights

_LOG_WIDTH = 140
_WAIT_SECONDS = 120.0

Done = Callable[[Weights], None]
Failed = Callable[[UserError], None]


def server_app(cfg: DictConfig, weights: Weights, rounds: Rounds, done: Done, failed: Failed) -> ServerApp:
    """The app that runs the remaining rounds.

    Args:
        cfg: the resolved config of `pretrain.federated`, with `sites` in the order of the nodes.
        weights: to start from.
        rounds: finished so far, and where to write the others.
        done: called with the final weights.
        failed: called with the error of a site, which Flower would only log.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            done(Federation(cfg, grid, rounds).run(weights))
        except UserError as error:
            failed(error)

    return app


class Federation:
    """A run over the connected sites.

    Args:
        cfg: as for `server_app`.
        grid: Flower's way to the nodes.
        rounds: see there.
    """

    def __init__(self, cfg: DictConfig, grid: Grid, rounds: Rounds) -> None:
        self.cfg = cfg
        self.grid = grid
        self.rounds = rounds
        self.console = Console()
        if not self.console.is_terminal:
            self.console.width = _LOG_WIDTH
        self.nodes = self._introductions()
        self.training = [name for name in self.nodes if name not in cfg.data.test_hospitals]

    def run(self, weights: Weights) -> Weights:
        """All rounds that are left."""
        for number in range(len(self.rounds.history) + 1, self.cfg.rounds + 1):
            weights = self._round(number, weights)
        return weights

    def _round(self, number: int, weights: Weights) -> Weights:
        start = (number - 1) * self.cfg.steps_per_round
        order = pack_order(self.cfg, weights, start)
        with self.console.status(f"Round {number} of {self.cfg.rounds}: {', '.join(self.training)} train"):
            trained = self._ask(MessageType.TRAIN, order, self.training)
        found = aggregate(weights, {reply.hospital: (reply.weights, reply.samples) for reply in trained})
        order = pack_order(self.cfg, found.weights, start)
        with self.console.status(f"Round {number} of {self.cfg.rounds}: {', '.join(self.nodes)} evaluate"):
            evaluated = self._ask(MessageType.EVALUATE, order, list(self.nodes))
        facts = {
            "coverage": found.coverage,
            "training": {reply.hospital: {"samples": reply.samples, "metrics": reply.metrics} for reply in trained},
            "evaluation": {reply.hospital: reply.metrics for reply in evaluated},
        }
        self.rounds.save(number, found.weights, facts)
        self.console.print(round_table(number, self.cfg.rounds, facts))
        return found.weights

    def _introductions(self) -> dict[str, int]:
        """Nodes by hospital, in the order of `sites`."""
        asked = RecordDict({"hospitals": ConfigRecord({"names": list(self.cfg.sites)})})
        messages = [Message(asked, node, MessageType.QUERY) for node in self._connected()]
        found = {
            unpack_reply(reply.content).hospital: reply.metadata.src_node_id
            for reply in _sound(self.grid.send_and_receive(messages))
        }
        return {name: found[name] for name in self.cfg.sites}

    def _connected(self) -> list[int]:
        """The nodes, once all have come.

        Raises:
            UserError: if some stay away.
        """
        end = time.monotonic() + _WAIT_SECONDS
        while len(nodes := list(self.grid.get_node_ids())) < len(self.cfg.sites):
            if time.monotonic() > end:
                raise UserError(f"sites: {len(nodes)} of {len(self.cfg.sites)} nodes connected in {_WAIT_SECONDS:g} s")
            time.sleep(0.2)
        return nodes

    def _ask(self, kind: str, order: RecordDict, hospitals: list[str]) -> list[Reply]:
        """Sends an order and waits for everybody; answers in the order of the hospitals, so that sums reproduce."""
        messages = [Message(order, self.nodes[name], kind) for name in hospitals]
        replies = {reply.hospital: reply for reply in map(_read, _sound(self.grid.send_and_receive(messages)))}
        return [replies[name] for name in hospitals]


def _read(message: Message) -> Reply:
    return unpack_reply(message.content)


def _sound(messages: Iterable[Message]) -> list[Message]:
    """The messages, none of which reports a failure of the node.

    Raises:
        UserError: naming the first that does.
    """
    kept = []
    for message in messages:
        if message.has_error():
            reason: Any = message.error.reason or f"code {message.error.code}"
            raise UserError(f"node {message.metadata.src_node_id}: failed: {str(reason).splitlines()[-1][:300]}")
        kept.append(message)
    return kept
