"""The grid of a secure round: it counts bytes, keeps reasons, and sums masked vectors as they come."""

import io
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from foundation.federation.ledger.entry import printable
from foundation.federation.secure.records import (
    LEGACY,
    RECORD_KEY_CONFIGS,
    Key,
    Stage,
    bytes_to_ndarray,
    masked_vectors,
    put_masked_vectors,
)
from foundation.federation.wire.bounds import content_bytes
from foundation.federation.wire.messages import check_answers, failure_of, order_digest
from foundation.federation.wire.tensors import UnreadableError

_HEADER = 256  # bytes that hold the header of a flat array
_POLL_SECONDS = 0.1


class SummingGrid:
    """The grid as Flower's workflow sees it.

    Replies are fetched one at a time and their masked vectors added up at once, so that the server holds one site's
    besides the sum; the workflow, which would add them itself, gets the sum with one reply and zeros with the others.

    Args:
        grid: Flower's.
        sites: names by node.
        shapes: of the masked vectors, the weight's first.
        modulus: of the masks, a power of two.
        training_seconds: deadline of the stage in which sites train; the other stages have the workflow's own.

    Attributes:
        absent: the reason, by site that gave no usable answer in some stage.
        replies: by site, the open part of what it answered to the order.
        to_site, from_site: bytes of all stages.
    """

    def __init__(
        self,
        grid: Grid,
        sites: Mapping[int, str],
        shapes: list[tuple[int, ...]],
        modulus: int,
        training_seconds: float | None,
    ) -> None:
        self._grid = grid
        self._sites = sites
        self._shapes = shapes
        self._modulus = modulus
        self._training_seconds = training_seconds
        self._sum: list[np.ndarray] = []
        self.absent: dict[str, str] = {}
        self.replies: dict[str, RecordDict] = {}
        self.to_site: Counter[str] = Counter()
        self.from_site: Counter[str] = Counter()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """As the grid's; only replies that the workflow can use come back."""
        sent = list(messages)
        if not sent:
            return []
        stage = str(sent[0].content.config_records[RECORD_KEY_CONFIGS][Key.STAGE])
        training = stage == Stage.COLLECT_MASKED_VECTORS
        seconds = self._training_seconds if training else timeout
        for message in sent:
            self.to_site[self._sites[message.metadata.dst_node_id]] += content_bytes(message.content)
        kept, order = [], order_digest(sent[0].content) if training else ""
        for site, reply in self._answers(sent, seconds):
            late = f"no answer in {seconds or 0:g} s"
            reason = late if reply is None else self._unusable(site, reply, training, order)
            if reason is not None:
                self.absent[site] = f"{stage}: {reason}"
            elif reply is not None:
                kept.append(reply)
                if training:
                    self._add(reply)
        if training and kept:
            put_masked_vectors(kept[0].content, self._sum)
            self._sum = []
        return kept

    def _answers(self, sent: list[Message], seconds: float | None) -> Iterable[tuple[str, Message | None]]:
        """Each site's reply as it comes, then None for each site that stays silent."""
        started = time.monotonic()
        sites = [self._sites[message.metadata.dst_node_id] for message in sent]
        pending = dict(zip(self._grid.push_messages(sent), sites, strict=True))
        while pending:
            for number, site in list(pending.items()):
                for reply in self._grid.pull_messages([number]):
                    del pending[number]
                    yield site, reply
            if pending and seconds is not None and time.monotonic() - started > seconds:
                yield from ((site, None) for site in pending.values())
                return
            if pending:
                time.sleep(_POLL_SECONDS)

    def _unusable(self, site: str, reply: Message, training: bool, order: str) -> str | None:
        if reply.has_error():
            return failure_of(reply.error)
        try:
            check_answers(reply.content, order)
        except UnreadableError as error:
            return str(error)
        self.from_site[site] += content_bytes(reply.content)
        if training:
            self.replies[site] = RecordDict(
                {
                    name: record
                    for name, record in reply.content.items()
                    if name != RECORD_KEY_CONFIGS and not name.startswith(LEGACY)
                }
            )
        if RECORD_KEY_CONFIGS not in reply.content.config_records:
            records = reply.content.config_records.values()
            reasons = [printable(str(record["declined"])) for record in records if "declined" in record]
            return f"declined: {reasons[0]}" if reasons else "answered without a masked update"
        if training and [_shape(vector) for vector in masked_vectors(reply.content)] != self._shapes:
            return "masked vectors of other shapes than the order's"
        return None

    def _add(self, reply: Message) -> None:
        """Adds a reply's vectors to the sum, and leaves zeros that add nothing in their place."""
        vectors = masked_vectors(reply.content)
        zeros = [np.zeros(1, dtype=np.int64) for _ in vectors]
        if not self._sum:
            self._sum = [np.zeros(shape, dtype=np.int64) for shape in self._shapes]
        for total, vector in zip(self._sum, vectors, strict=True):
            total += bytes_to_ndarray(vector)
            total &= self._modulus - 1
        put_masked_vectors(reply.content, zeros)


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
