"""Orders go to sites, and answers come back one at a time: whoever is late, dead or unwilling is named."""

import time
from collections.abc import Callable, Mapping

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from pretrain.federated.blob import UnreadableError
from pretrain.federated.ledger.writer import UnfitError

_POLL_SECONDS = 0.1

Heard = Callable[[str, Message], None]


def ask(
    grid: Grid,
    kind: str,
    order: RecordDict,
    nodes: Mapping[str, int],
    seconds: float | None,
    heard: Heard,
    own: Mapping[str, Mapping[str, ArrayRecord]] | None = None,
) -> dict[str, str]:
    """Sends an order to some sites and hands on each answer as it comes.

    Answers are fetched one by one, so that no more than one lies in memory.

    Args:
        grid: Flower's way to the nodes.
        kind: of message.
        order: for all of them, packed once; nothing here holds on to it once it is sent.
        nodes: by site.
        seconds: after which nobody is waited for; None waits for everybody.
        heard: called with site and answer, for every answer that reports no failure of the node.
        own: by site, records of its order that no other gets; nothing holds on to them, either.

    Returns:
        Why, by site, of those who gave no answer.
    """
    started = time.monotonic()
    sites = list(nodes)
    contents = {site: order if own is None else RecordDict({**order, **own.get(site, {})}) for site in sites}
    messages = [Message(contents[site], nodes[site], kind, ttl=seconds) for site in sites]
    pending = dict(zip(grid.push_messages(messages), sites, strict=True))
    del messages, contents, order, own
    absent: dict[str, str] = {}
    while pending:
        for number, site in list(pending.items()):
            for message in grid.pull_messages([number]):
                del pending[number]
                if message.has_error():
                    reason = message.error.reason or f"code {message.error.code}"
                    absent[site] = f"the node failed: {str(reason).strip().splitlines()[-1][:300]}"
                    continue
                try:
                    heard(site, message)
                except (UnreadableError, UnfitError) as error:
                    absent[site] = f"answer refused: {error}"
        if seconds is not None and time.monotonic() - started > seconds:
            return absent | dict.fromkeys(pending.values(), f"no answer in {seconds:g} s")
        if pending:
            time.sleep(_POLL_SECONDS)
    return absent
