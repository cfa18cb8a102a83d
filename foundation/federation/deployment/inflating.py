"""Flower's objects put together from their contents, with arrays in memory once."""

import json
import time
from collections import Counter
from typing import Any

from flwr.app import Array, Error, Message
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_object_body
from flwr.supercore.inflatable.inflatable_object import get_object_head_values_from_object_content as head
from flwr.supercore.inflatable.inflatable_utils import inflatable_class_registry

_PLACES = "arraychunk_ids"  # of an array's pieces among its children, in order


def inflate(object_id: str, contents: dict[str, bytes], most: int) -> Any:
    """The object of a name, from its own content and that of all its parts.

    Flower's function keeps every piece of an array until the whole is there, beside the arrays themselves: a copy of
    the whole model. Here a piece goes as soon as nothing else is made of it. And an array may name one piece again and
    again, so that a few bytes become any number in memory: they are counted before they are there.

    Args:
        object_id: SHA-256 of the object's content.
        contents: by name; emptied on the way.
        most: bytes of all arrays together.

    Raises:
        Exception: of any kind, as Flower's reader meets bytes that others made; a ValueError where arrays are larger.
    """
    heads = {name: head(content) for name, content in contents.items()}
    sizes = {name: len(content) for name, content in contents.items()}  # not as a head says, which others wrote
    uses = Counter(child for _, children, _ in heads.values() for child in set(children))
    wholes: dict[str, Any] = {}  # what has parts, as an array has; a part goes when its last whole is there
    left = most

    def made(name: str) -> Any:
        nonlocal left
        if name in wholes:
            return wholes[name]
        kind, children, _ = heads[name]
        uses[name] -= 1
        content = contents[name] if uses[name] > 0 else contents.pop(name)
        if kind == Array.__name__:
            left -= sum(sizes[children[place]] for place in json.loads(get_object_body(content, Array))[_PLACES])
            if left < 0:
                raise ValueError(f"arrays of more than {most} bytes")
        one = inflatable_class_registry[kind].inflate(content, {part: made(part) for part in children})
        if children:
            wholes[name] = one
        return one

    return made(object_id)


def unreadable_message(reason: str) -> Message:
    """What stands for an answer that cannot be read, as a failure of the node that sent it."""
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=0.0,
        message_type="system",
    )
    return make_message(metadata, error=Error(ErrorCode.UNKNOWN, reason))
