"""The server's side of sums: a question goes to the sites, and the total of their answers comes back.

Where the run masks updates, it masks sums as well: they travel as whole numbers through the same secure round, and the
server sees totals alone (`foundation.federation.sums.fixed_point`).
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import Message, MessageType
from flwr.serverapp import Grid
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.federation.privacy import PrivateStrategy
from foundation.federation.secure import secure_round
from foundation.federation.server.components import ServerComponents
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.server.ledger import ServerLedger
from foundation.federation.sums.contract import Numbers, Refused, Shapes, Sums
from foundation.federation.sums.fixed_point import RANGE, from_parts, parts_before
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.messages import Decline, Order, Reply, pack_order, unpack_reply
from foundation.federation.wire.sums import from_answer, places, with_question
from foundation.federation.wire.tensors import UnreadableError

OrderOf = Callable[[Arrays], Order]

_SPARSE = 16  # cells by one that is not zero, from where on it is quicker to add those alone
_BY_POLICY = "declined: policy: "


class SumExchange:
    """Asks the sites that are there; see `foundation.federation.sums.Ask`.

    Args:
        grid: Flower's way to the nodes.
        components: of the run.
        ledger: the server's ledger.
        nodes: by site, of those that may be asked.
        training: sites of them that train, who are asked unless a question names others.
        quorum: share of the sites that are asked without which no sum counts.
        order_of: an order of the round about some weights.

    Attributes:
        sites: that were in the latest sum.
        absent: why, by site that was asked for any sum and was not in it.
    """

    def __init__(
        self,
        grid: Grid,
        components: ServerComponents,
        ledger: ServerLedger,
        nodes: Mapping[str, int],
        training: Collection[str],
        quorum: float,
        order_of: OrderOf,
    ) -> None:
        self.grid = grid
        self.components = components
        self.ledger = ledger
        self.nodes = nodes
        self.training = training
        self.quorum = quorum
        self.order_of = order_of
        self.sites: list[str] = []
        self.absent: dict[str, str] = {}

    @property
    def refuses(self) -> bool:
        return isinstance(self.components.strategy, PrivateStrategy)

    @property
    def connected(self) -> list[str]:
        return list(self.nodes)

    def __call__(
        self,
        name: str,
        weights: Arrays,
        shapes: Shapes,
        question: Arrays | None = None,
        sites: Collection[str] | None = None,
    ) -> Sums:
        if self.refuses and shapes:
            raise UserError(f"privacy: '{name}' are exact sums, which no noise covers; set privacy=none")
        asked = self.training if sites is None else sites
        nodes = {site: node for site, node in self.nodes.items() if site in asked}
        order = with_question(self.order_of(weights), name, shapes, question or {})
        self.ledger.ordered("statistics", order, nodes)
        sums = (
            self._open(order, nodes, shapes) if self.components.secure is None else self._masked(order, nodes, shapes)
        )
        sums.absent |= {site: "not connected" for site in asked if site not in nodes}
        self.sites = sums.sites
        self.absent |= sums.absent
        least = math.ceil(self.quorum * len(asked))
        if shapes and len(sums.sites) < least:
            reasons = "; ".join(f"{site}: {reason}" for site, reason in sums.absent.items())
            refused = all(reason.startswith(_BY_POLICY) for reason in sums.absent.values())
            raise (Refused if refused else UserError)(
                f"{name}: {len(sums.sites)} of {len(asked)} sites answered, {least} are needed ({reasons}); "
                "go on with resume=true when they can, or lower quorum"
            )
        return sums

    def _open(self, order: Order, nodes: Mapping[str, int], shapes: Shapes) -> Sums:
        by_site: dict[str, Numbers] = {}
        absent: dict[str, str] = {}

        def on_reply(site: str, message: Message) -> None:
            answer = unpack_reply(message.content)
            if isinstance(answer, Decline):
                self.ledger.declined(order, site, answer.reason)
                absent[site] = f"declined: {answer.reason}"
                return
            self.ledger.received("statistics", order, site, answer)
            by_site[site] = _read(order.sums, answer, shapes)

        packed = pack_order(order)
        absent |= send_and_collect(self.grid, MessageType.TRAIN, packed, nodes, order.plan.deadline, on_reply)
        sites = [site for site in nodes if site in by_site]
        total = {name: _added([by_site[site][name] for site in sites], shape) for name, shape in shapes.items()}
        return Sums(total, sites, by_site, absent)

    def _masked(self, order: Order, nodes: Mapping[str, int], shapes: Shapes) -> Sums:
        assert self.components.secure is not None
        before = parts_before({place: shapes[name] for name, place in places(shapes).items()})
        settings = replace(self.components.secure, statistic_range=RANGE)
        masked = secure_round(
            self.grid, nodes, pack_order(order), before, settings, 1, order.round, order.plan.deadline
        )
        for site in masked.took_part:
            self.ledger.summed(order, site, masked.bytes[site]["from_site"], "statistics")
        for site, reason in masked.absent.items():
            self.ledger.declined(order, site, reason)
        count = len(masked.took_part)
        parts: Numbers = {}
        for place, value in before.items():
            mean: Any = masked.differences.get(place, value)
            parts[place] = np.asarray(mean, dtype=np.float64) * count
        return Sums(from_answer(from_parts(parts), shapes), masked.took_part, {}, masked.absent)


def _added(parts: Sequence[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
    """The sum of sites' arrays; of whole numbers so short that thousands of them add up in four bytes, in such."""
    short = all(part.dtype.kind in "iu" and part.dtype.itemsize <= 2 for part in parts)
    total: NDArray[Any] = np.zeros(shape, dtype=np.int32 if short and parts else np.float64)
    for part in parts:
        if part.dtype.itemsize == 1 and np.count_nonzero(part) * _SPARSE < part.size:
            cells = np.flatnonzero(part)  # tables of few patients are all but empty
            total.reshape(-1)[cells] += part.reshape(-1)[cells]
        else:
            total += part
    return total


def _read(name: str, reply: Reply, shapes: Shapes) -> Numbers:
    """A site's arrays, held against what was asked.

    Raises:
        UnreadableError: if they are not what the question declares: the site is then not in the sum.
    """
    try:
        arrays = {key: np.array(value) for key, value in from_answer(reply.update, shapes).items()}
    except KeyError as error:
        raise UnreadableError(f"{name}: an array is missing; install one release everywhere") from error
    for key, value in arrays.items():
        if value.shape != tuple(shapes[key]):
            raise UnreadableError(f"{name}: {key} has another shape than asked for; install one release everywhere")
        if value.dtype.kind not in "fiu" or (value.dtype.kind == "f" and not np.isfinite(value).all()):
            raise UnreadableError(f"{name}: {key} holds what is no finite number")
    return arrays
