"""The exchange of orders and answers, one at a time: whoever is late, dead or unwilling is named."""

from collections.abc import Callable, Mapping

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from foundation.federation.ledger.writer import UnfitError
from foundation.federation.wire.messages import check_answers, failure_of, order_digest
from foundation.federation.wire.tensors import UnreadableError
from foundation.polling import wait_until

_POLL_SECONDS = 0.1

OnReply = Callable[[str, Message], None]


def send_and_collect(
    grid: Grid,
    kind: str,
    order: RecordDict,
    nodes: Mapping[str, int],
    seconds: float | None,
    on_reply: OnReply,
    extra: Mapping[str, Mapping[str, ArrayRecord]] | None = None,
) -> dict[str, str]:
    """Sends an order to some sites and hands on each answer as it comes.

    Answers are fetched one by one, so that no more than one lies in memory.

    Args:
        grid: Flower's way to the nodes.
        kind: of message.
        order: for all of them, packed once; nothing here holds on to it once it is sent.
        nodes: by site.
        seconds: after which nobody is waited for; None waits for everybody.
        on_reply: called with site and answer, for every answer that reports no failure of the node.
        extra: by site, records of its order that no other gets; nothing holds on to them, either.

    Returns:
        Why, by site, of those who gave no answer.
    """
    sites = list(nodes)
    contents = {site: order if extra is None else RecordDict({**order, **extra.get(site, {})}) for site in sites}
    messages = [Message(contents[site], nodes[site], kind, ttl=seconds) for site in sites]
    digest = order_digest(order)
    pending = dict(zip(grid.push_messages(messages), sites, strict=True))
    del messages, contents, order, extra
    absent: dict[str, str] = {}

    def all_answered() -> bool:
        """Asks for one site after another until one has not answered, who is then asked again after all others."""
        while pending:
            number, site = next(iter(pending.items()))
            del pending[number]
            answered, fault = _answer(grid, number, site, on_reply, digest)
            if fault is not None:
                absent[site] = fault
            if not answered:
                pending[number] = site
                return False
        return True

    if wait_until(all_answered, _POLL_SECONDS, seconds):
        return absent
    return absent | dict.fromkeys(pending.values(), f"no answer in {seconds:g} s")


def _answer(grid: Grid, number: str, site: str, on_reply: OnReply, order: str) -> tuple[bool, str | None]:
    """Hands on a site's answer if it is there; whether it was, and what was wrong with it.

    A function of its own: no name holds on to an answer while the next one is fetched.
    """
    for message in grid.pull_messages([number]):
        if message.has_error():
            return True, failure_of(message.error)
        try:
            check_answers(message.content, order)
            on_reply(site, message)
        except (UnreadableError, UnfitError) as error:
            return True, f"answer refused: {error}"
        return True, None
    return False, None
