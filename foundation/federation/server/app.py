"""The app of the server: a round is ordered, taken in, combined, evaluated and written down."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from flwr.app import Context, Message, MessageType
from flwr.serverapp import Grid, ServerApp
from omegaconf import DictConfig
from rich.console import Console

from foundation.arrays import write_arrays
from foundation.errors import NOT_DUE, NotDue, UserError
from foundation.federation.plan.standing import NEWS
from foundation.federation.planning import plan_of
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.server.components import ServerComponents
from foundation.federation.server.console import round_table
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.server.extension import ExtensionExchange
from foundation.federation.server.ledger import ServerLedger
from foundation.federation.server.node_registry import Admitted, NodeRegistry
from foundation.federation.server.receipts import ReceiptBook
from foundation.federation.server.round import Round
from foundation.federation.server.statistics import collect_statistics
from foundation.federation.server.sums import SumExchange
from foundation.federation.server.timing import PhaseTimer
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.weights.types import Arrays, Weights
from foundation.federation.wire.messages import Decline, Order, pack_order, unpack_reply

_LOG_WIDTH = 140

Done = Callable[[Arrays], None]
Failed = Callable[[UserError], None]


def server_app(
    cfg: DictConfig,
    weights: Arrays,
    checkpoints: Checkpoints,
    done: Done,
    failed: Failed,
    admitted: Admitted | None = None,
    book: ReceiptBook | None = None,
) -> ServerApp:
    """The app that runs the remaining rounds.

    Args:
        cfg: the run's resolved config, with `sites` in the order of the nodes.
        weights: to start from, those that travel.
        checkpoints: finished so far, and where to write the others.
        done: called with the final weights.
        failed: called with the error that ended the run, which Flower would only log.
        admitted: see `NodeRegistry`.
        book: see `ServerLedger`.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            done(Federation(cfg, grid, checkpoints, admitted, book).run(weights))
        except UserError as error:
            failed(error)

    return app


class Federation:
    """A run over the connected sites.

    Args:
        cfg: as for `server_app`.
        grid: Flower's way to the nodes.
        checkpoints: see there.
        admitted: see `NodeRegistry`.
        book: see `ServerLedger`.
    """

    def __init__(
        self,
        cfg: DictConfig,
        grid: Grid,
        checkpoints: Checkpoints,
        admitted: Admitted | None = None,
        book: ReceiptBook | None = None,
    ) -> None:
        self.cfg = cfg
        self.grid = grid
        self.checkpoints = checkpoints
        self.components = ServerComponents.of(cfg)
        self.plan = plan_of(cfg)
        self.ledger = ServerLedger(checkpoints.folder / "ledger.jsonl", book)
        extension = self.components.task.extension()
        kept = {} if extension is None else checkpoints.extension(extension.name)
        self.extension = ExtensionExchange(extension, self.ledger, kept)
        self.training = [name for name in cfg.sites if name not in cfg.data.test_hospitals]
        self.quorum = math.ceil(cfg.quorum * len(self.training))
        self.nodes = NodeRegistry(grid, list(cfg.sites), admitted)
        self.resting: dict[str, str] = {}  # why, by site that sits a recurring run out
        self.console = Console()
        if not self.console.is_terminal:
            self.console.width = _LOG_WIDTH

    def run(self, weights: Arrays) -> Arrays:
        """All rounds that are left.

        Raises:
            UserError: if too few sites take part, or the disk does not take what the rounds write.
        """
        try:
            return self._rounds(weights)
        except OSError as error:
            raise UserError(
                f"{self.checkpoints.folder}: cannot be written ({error}); make room, then go on with resume=true"
            ) from error

    def _rounds(self, weights: Arrays) -> Arrays:
        if state := self.checkpoints.strategy():
            self.components.strategy.load_state(state)
        here = self.nodes.wait(self.quorum, self.cfg.join_seconds)
        if self.plan.standing is not None and not self.checkpoints.history:
            self._check_news(here)
            here = {name: node for name, node in here.items() if name not in self.resting}
        if self.cfg.statistics and not self.checkpoints.history:
            training = {name: here[name] for name in self.training if name in here}
            order = self._order(1, weights)
            weights = collect_statistics(
                self.grid, self.components.task, order, training, self.ledger, self.checkpoints, self.cfg.deadline
            )
        if not self.checkpoints.history:
            weights = self._begun(weights, self.components.task.begin(self._ask(0, here), weights))
        for number in range(len(self.checkpoints.history) + 1, self.cfg.rounds + 1):
            weights = self._round(number, weights)
        if not self.cfg.rounds:
            self.checkpoints.end()
        return weights

    def _check_news(self, nodes: Mapping[str, int]) -> None:
        """Asks hospitals for their word that they have enough that is new; those that have not sit the run out.

        Raises:
            NotDue: if too few have.
        """
        parts = replace(self.components, secure=None)  # a word that holds no number needs no mask
        order_of = partial(self._order, 0)
        ask = SumExchange(self.grid, parts, self.ledger, nodes, self.training, self.cfg.quorum, order_of)
        ready = ask(NEWS, {}, {}).sites
        self.resting = {site: reason for site, reason in ask.absent.items() if site not in ready}
        if len(ready) < self.quorum:
            reasons = "; ".join(f"{site}: {reason}" for site, reason in self.resting.items())
            raise NotDue(
                f"{NOT_DUE}{len(ready)} of {len(self.training)} hospitals have enough that is new, {self.quorum} are "
                f"needed ({reasons})"
            )

    def _begun(self, weights: Arrays, changed: Weights) -> Arrays:
        """The weights to start from, with what sums over the sites have set."""
        if not changed:
            return weights
        write_arrays(self.checkpoints.path(0), {**weights, **changed})
        return LazySafetensors(self.checkpoints.path(0))

    def _ask(self, number: int, nodes: Mapping[str, int]) -> SumExchange:
        """How the task asks the connected sites for sums, in a round."""
        order_of = partial(self._order, number)
        return SumExchange(self.grid, self.components, self.ledger, nodes, self.training, self.cfg.quorum, order_of)

    def _round(self, number: int, weights: Arrays) -> Arrays:
        """A round, and the weights after it."""
        timer, title = PhaseTimer(), f"Round {number} of {self.cfg.rounds}"
        here = self.nodes.connected()
        parts = (self.grid, self.components, self.ledger, timer, self.checkpoints, self.extension)
        current = Round(*parts, self.cfg.memory_mib, self.cfg.data.batch_size)
        current.absent |= {name: "not connected" for name in self.training if name not in here}
        current.absent |= self.resting
        here = {name: node for name, node in here.items() if name not in self.resting}
        ask, task = self._ask(number, here), self.components.task
        with timer.of("training"):
            led = task.lead(ask, weights, number, self.checkpoints.buffers)
        if led is not None:
            current.led(ask.sites, ask.absent)
            weights = {**weights, **led}
        else:
            for stage in self.components.strategy.stages(number, [name for name in self.training if name in here]):
                with self.console.status(f"{title}: {', '.join(stage)} train"):
                    weights = current.stage(self._order(number, weights), {name: here[name] for name in stage})
        self._check_quorum(number, current)
        if number == self.cfg.rounds:
            with timer.of("aggregation"):
                weights = {**weights, **task.end(ask, weights)}
        weights = self.checkpoints.keep_weights(number, dict(weights))
        asked = self._evaluating(number, here)
        with self.console.status(f"{title}: {', '.join(asked)} evaluate"), timer.of("evaluation"):
            evaluation, silent = self._evaluate(self._order(number, weights), asked)
        facts = current.facts()
        facts = {
            **facts,
            **self.extension.facts(self.checkpoints.run, facts.get("privacy")),
            "started": timer.started,
            "evaluation": evaluation,
            "absent": silent | current.absent,
            "seconds": timer.seconds(),
        }
        extension = self.extension.extension
        kept = None if extension is None else (extension.name, self.extension.arrays)
        self.checkpoints.save(number, self.components.strategy.state(), facts, kept)
        name = "" if extension is None else extension.name
        self.console.print(round_table(number, self.cfg.rounds, self.checkpoints.history[-1], name))
        return weights

    def _evaluating(self, number: int, nodes: Mapping[str, int]) -> dict[str, int]:
        """Sites that train, on validation patients; those held out once, after the last round."""
        last = number == self.cfg.rounds
        return {site: node for site, node in nodes.items() if last or site in self.training}

    def _order(self, number: int, weights: Arrays) -> Order:
        return Order(
            self.plan,
            weights,
            self.checkpoints.run,
            number,
            self.components.clip,
            self.components.strategy.server_control() or {},
            self.checkpoints.frozen,
            self.checkpoints.buffers,
            self.ledger.head,
            receipts=() if self.ledger.book is None else self.ledger.book.latest,
        )

    def _check_quorum(self, number: int, current: Round) -> None:
        """Holds a round to the sites that it needs.

        Raises:
            UserError: if fewer gave an update that could be taken.
        """
        if len(current.sites) >= self.quorum:
            return
        reasons = "; ".join(f"{site}: {reason}" for site, reason in current.absent.items())
        raise UserError(
            f"round {number}: {len(current.sites)} of {len(self.training)} sites gave an update, {self.quorum} are "
            f"needed ({reasons}); go on with resume=true when they can, or lower quorum"
        )

    def _evaluate(self, order: Order, nodes: Mapping[str, int]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
        """What the weights are worth at every site that says so, and why the others do not."""
        metrics: dict[str, dict[str, float]] = {}
        silent: dict[str, str] = {}

        def on_reply(site: str, message: Message) -> None:
            answer = unpack_reply(message.content)
            if isinstance(answer, Decline):
                self.ledger.declined(order, site, answer.reason)
                silent[site] = f"evaluation declined: {answer.reason}"
            else:
                self.ledger.received("evaluation", order, site, answer)
                metrics[site] = answer.metrics
                self.extension.on_reply(order, site, answer)

        self.extension.begin()
        self.ledger.ordered("evaluation", order, nodes)
        late = send_and_collect(self.grid, MessageType.EVALUATE, pack_order(order), nodes, self.cfg.deadline, on_reply)
        silent |= {site: f"evaluation: {reason}" for site, reason in late.items()}
        return {site: metrics[site] for site in nodes if site in metrics}, silent
