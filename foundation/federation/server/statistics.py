"""The collection of sites' statistics before the first round, pooled, so that all start from one normalisation."""

from collections import Counter
from collections.abc import Mapping

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from foundation.arrays import write_arrays
from foundation.errors import UserError
from foundation.federation.ledger.entry import printable
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
    asked = Order(order.plan, {}, order.run, 0, head=ledger.head, receipts=order.receipts)

    def refuse(site: str, reason: str) -> None:
        by_site.pop(site, None)
        ledger.refused(asked, site, reason)
        silent[site] = f"refused: {printable(reason)}"

    def on_reply(site: str, message: Message) -> None:
        answer = unpack_reply(message.content)
        if isinstance(answer, Decline):
            ledger.declined(asked, site, answer.reason)
            silent[site] = answer.reason
            return
        ledger.received("statistics", asked, site, answer)
        try:
            by_site[site] = _of_site(site, statistics_of(answer))
        except UserError as error:
            refuse(site, str(error))

    ledger.ordered("statistics", asked, nodes)
    silent |= send_and_collect(grid, f"{MessageType.QUERY}.{QUERY}", pack_order(asked), nodes, seconds, on_reply)
    for site, reason in _of_other_units(by_site).items():
        refuse(site, reason)
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


def _of_site(site: str, statistics: SiteStatistics) -> SiteStatistics:
    if statistics.sites != [site]:
        raise UserError(f"statistics of {site}: are said to be those of others; ask each site for its own")
    return statistics


def _of_other_units(by_site: Mapping[str, SiteStatistics]) -> dict[str, str]:
    """Sites whose expression is in another unit than that of most, and why it cannot be pooled.

    Where no unit is that of most sites, nobody can tell who is wrong, and pooling says so.
    """
    units = {site: one.expression.unit for site, one in by_site.items() if one.expression is not None}
    usual, count = next(iter(Counter(units.values()).most_common(1)), ("", 0))
    if 2 * count <= len(units):
        return {}
    advice = "prepare its cohort with the expression_unit of the data dictionary"
    return {
        site: f"statistics of {site}: expression in {unit}, and in {usual} at most sites; {advice}"
        for site, unit in units.items()
        if unit != usual
    }
