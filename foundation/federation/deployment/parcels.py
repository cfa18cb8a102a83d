"""Small messages in one piece: Flower carries each record, array and chunk of a message by a request on every hop."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id, no_object_id_recompute

from foundation.federation.deployment.inflating import inflate, unreadable_message
from foundation.federation.wire.bounds import content_bytes
from foundation.federation.wire.tensors import UnreadableError

_PARCEL, _PIECES = "parcel", "pieces"
_LARGEST = 8 << 20  # bytes of a message that travels in one piece; it lies in memory twice meanwhile
_MOST = 1000  # pieces that are read; a message of this project has some twenty


def wrap(content: RecordDict) -> RecordDict:
    """A message's content as one piece; one that is large stays as it is, for its parts travel one at a time."""
    if content_bytes(content) > _LARGEST:
        return content
    with no_object_id_recompute():
        parts = get_all_nested_objects(content).values()  # each behind its own parts, so that the whole comes last
        pieces = [part.deflate() for part in parts]
    return RecordDict({_PARCEL: ConfigRecord({_PIECES: pieces})})


def unwrap(content: RecordDict) -> RecordDict:
    """What `wrap` was given; a content that is no parcel stays as it is.

    Raises:
        UnreadableError: if its pieces are nothing of the kind.
    """
    if _PARCEL not in content:
        return content
    parcel: Any = content[_PARCEL]
    pieces = parcel.get(_PIECES) if isinstance(parcel, ConfigRecord) else None
    if not isinstance(pieces, list) or not 0 < len(pieces) <= _MOST:
        raise _unreadable("no list of pieces")
    contents = {get_object_id(piece): piece for piece in pieces if isinstance(piece, bytes)}
    try:
        opened = inflate(list(contents)[-1], contents, 2 * _LARGEST)
    except Exception as error:  # whatever foreign bytes make of Flower's reader costs their sender the message
        raise _unreadable(type(error).__name__) from error
    if not isinstance(opened, RecordDict):
        raise _unreadable("no records")
    return opened


def _unreadable(what: str) -> UnreadableError:
    return UnreadableError(f"message: its parcel cannot be opened ({what}); install one release everywhere")


def wrapped(answer: Message) -> Message:
    """An answer as it travels; the same message."""
    if answer.has_content():
        answer.content = wrap(answer.content)
    return answer


def unwrapped(order: Message) -> Message:
    """An order as the site's app reads it; the same message.

    One that cannot be opened stays as it is: the app refuses what is no order, and writes that down.
    """
    with suppress(UnreadableError):
        order.content = unwrap(order.content)
    return order


class ParcelGrid:
    """Flower's way to the nodes, on which small messages travel in one piece.

    Args:
        grid: Flower's.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def get_node_ids(self) -> Iterable[int]:
        """As the grid's."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the grid's; a content that goes to several nodes is wrapped once."""
        parcels: dict[int, tuple[RecordDict, RecordDict]] = {}  # with the content, whose id is its own while it lives
        sent = list(messages)
        for message in sent:
            content = message.content
            if id(content) not in parcels:
                parcels[id(content)] = content, wrap(content)
            message.content = parcels[id(content)][1]
        parcels.clear()
        return self._grid.push_messages(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the grid's; an answer that cannot be opened is a failure of the node that sent it."""
        return map(_opened, self._grid.pull_messages(message_ids))


def _opened(message: Message) -> Message:
    if message.has_error():
        return message
    try:
        message.content = unwrap(message.content)
    except UnreadableError as error:
        return unreadable_message(str(error))
    return message
