"""Before the first round: what sites may tell of their patients, pooled, so that all start from one normalisation."""

from collections.abc import Mapping
from pathlib import Path

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from foundation.data.cohort import read_dictionary
from foundation.errors import UserError
from pretrain.federated.asking import ask
from pretrain.federated.desk import Desk
from pretrain.federated.messages import Decline, Order, Reply, pack_order, unpack_reply
from pretrain.federated.rounds import Rounds
from pretrain.federated.server_book import ServerBook
from pretrain.federated.statistics import (
    SiteStatistics,
    from_arrays,
    initial_moments,
    pool,
    site_statistics,
    statistics_page,
    suppress,
    to_arrays,
)
from pretrain.federated.stored import Arrays, StoredWeights, save_weights

QUERY = "statistics"
_TEXT = "statistic."


def take(grid: Grid, order: Order, nodes: Mapping[str, int], book: ServerBook, rounds: Rounds) -> Arrays:
    """Asks the sites, writes `statistics.json` and `statistics.md`, and gives the weights to start from.

    Raises:
        UserError: if no site tells anything.
    """
    found: dict[str, SiteStatistics] = {}
    silent: dict[str, str] = {}
    asked = Order(order.cfg, {}, order.run, order.release, 0, 0, head=book.head)

    def heard(site: str, message: Message) -> None:
        answer = unpack_reply(message.content)
        if isinstance(answer, Decline):
            book.declined(asked, site, answer.reason)
            silent[site] = answer.reason
            return
        book.heard("statistics", asked, site, answer)
        texts = {name.removeprefix(_TEXT): str(text) for name, text in answer.facts.items() if name.startswith(_TEXT)}
        found[site] = from_arrays(answer.update, texts)

    book.ordered("statistics", asked, nodes)
    silent |= ask(grid, f"{MessageType.QUERY}.{QUERY}", pack_order(asked), nodes, order.cfg.deadline, heard)
    if not found:
        raise UserError(f"statistics: no site told any ({'; '.join(f'{site}: {why}' for site, why in silent.items())})")
    parts = [found[site] for site in nodes if site in found]
    pooled = pool(parts)
    _write(rounds.folder / "statistics.json", pooled.model_dump_json(indent=2) + "\n")
    _write(rounds.folder / "statistics.md", statistics_page(parts, pooled))
    if "expression" not in order.cfg.statistics:
        return order.weights
    genes = read_dictionary(Path(order.cfg.data.folder)).genes
    moments = {name: value for name, value in initial_moments(pooled, genes).items() if name in order.weights}
    save_weights({**order.weights, **moments}, rounds.path(0))
    return StoredWeights(rounds.path(0))


def answer(desk: Desk) -> Reply:
    """What a site tells once its policy has let the question in; small cells are withheld."""
    patients = desk.patients("train")
    told = suppress(site_statistics(desk.cohort, patients, desk.statistics), desk.site.policy.patients.cell)
    arrays, texts = to_arrays(told)
    facts: dict[str, str | float] = {f"{_TEXT}{name}": text for name, text in texts.items()}
    return desk.release(Reply(desk.site.name, arrays, facts=facts), len(patients), {})


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)
