"""The collection of sites' statistics before the first round, pooled, so that all start from one normalisation."""

from collections.abc import Mapping

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from foundation.arrays import write_arrays
from foundation.errors import UserError
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.server.exchange import send_and_collect
from foundation.federation.server.ledger import ServerLedger
from foundation.federation.statistics import SiteStatistics, pool, statistics_page
from foundation.federation.statistics.collect import QUERY, statistics_of
from foundation.federation.task import FederatedTask
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.weights.types import Arrays
from foundation.federation.wire.messages import Decline, Order, pack_order, unpack_reply
from foundation.files import write_text


def collect_statistics(
    grid: Grid,
    task: FederatedTask,
    order: Order,
    nodes: Mapping[str, int],
    ledger: ServerLedger,
    checkpoints: Checkpoints,
    seconds: float | None,
) -> Arrays:
    """Asks the sites, writes `statistics.json` and `statistics.md`, and gives the weights to start from.

    Raises:
        UserError: if no site tells anything.
    """
    by_site: dict[str, SiteStatistics] = {}
    silent: dict[str, str] = {}
    asked = Order(order.plan, {}, order.run, 0, head=ledger.head)

    def on_reply(site: str, message: Message) -> None:
        answer = unpack_reply(message.content)
        if isinstance(answer, Decline):
            ledger.declined(asked, site, answer.reason)
            silent[site] = answer.reason
            return
        ledger.received("statistics", asked, site, answer)
        by_site[site] = statistics_of(answer)

    ledger.ordered("statistics", asked, nodes)
    silent |= send_and_collect(grid, f"{MessageType.QUERY}.{QUERY}", pack_order(asked), nodes, seconds, on_reply)
    if not by_site:
        raise UserError(f"statistics: no site told any ({'; '.join(f'{site}: {why}' for site, why in silent.items())})")
    parts = [by_site[site] for site in nodes if site in by_site]
    pooled = pool(parts)
    write_text(checkpoints.folder / "statistics.json", pooled.model_dump_json(indent=2) + "\n")
    write_text(checkpoints.folder / "statistics.md", statistics_page(parts, pooled))
    initial = {name: value for name, value in task.initial_weights(pooled).items() if name in order.weights}
    if not initial:
        return order.weights
    write_arrays(checkpoints.path(0), {**order.weights, **initial})
    return LazySafetensors(checkpoints.path(0))
