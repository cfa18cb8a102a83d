"""Messages in one piece: the same content at the other end, and nobody else's loss where it is none."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id
from hypothesis import given
from hypothesis import strategies as st

from foundation.federation.deployment import parcels
from foundation.federation.deployment.flower_patches import identify_process, inflate_in_bounds
from foundation.federation.deployment.parcels import ParcelGrid, unwrap, unwrapped, wrap, wrapped
from foundation.federation.wire.messages import Reply, failure_of, pack_reply, unpack_reply
from foundation.federation.wire.tensors import UnreadableError
from tests.foundation.federation.deployment.flower_restored import restore_flower
from tests.foundation.federation.stub_sites import SerialGrid

VALUES = st.one_of(
    st.integers(-(2**62), 2**62), st.floats(), st.text(), st.binary(), st.booleans(), st.lists(st.binary(min_size=1))
)


@pytest.fixture(autouse=True)
def _process() -> None:
    identify_process()


def reply(values: int = 6) -> RecordDict:
    arrays = {"fusion.weight": np.arange(values, dtype=np.float32)}
    return pack_reply(Reply("alpha", arrays, {}, {"fusion": 3}, {"loss": 0.5, "patients": 2.0}, {"release": "0.1"}))


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), VALUES))
def test_a_content_comes_back_as_it_was(one: dict, other: dict):
    content = RecordDict({"one": ConfigRecord(one), "other": ConfigRecord(other), "arrays": ArrayRecord()})
    assert unwrap(wrap(content)).object_id == content.object_id


def test_the_largest_content_that_travels_in_one_piece_comes_back():
    content = RecordDict({"arrays": ArrayRecord({"0": Array(np.zeros((8 << 20) - 600, dtype=np.uint8))})})
    assert wrap(content) is not content
    assert unwrap(wrap(content)).object_id == content.object_id


def test_what_took_nine_objects_takes_three():
    content = reply()
    assert len(get_all_nested_objects(Message(content, 1, "train"))) == 9
    assert len(get_all_nested_objects(Message(wrap(content), 1, "train"))) == 3
    back = unpack_reply(unwrap(wrap(content)))
    assert isinstance(back, Reply) and back.update["fusion.weight"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (back.samples, back.metrics["loss"], back.facts["release"]) == ({"fusion": 3}, 0.5, "0.1")


def test_a_large_content_travels_in_its_parts():
    content = reply((8 << 20) // 4 + 1)
    assert wrap(content) is content and unwrap(content) is content


PIECES = [part.deflate() for part in get_all_nested_objects(RecordDict({"facts": ConfigRecord({"a": 1})})).values()]
ATTACKS = {
    "no pieces": ConfigRecord({"pieces": []}),
    "something else than pieces": ConfigRecord({"pieces": 7}),
    "pieces that are texts": ConfigRecord({"pieces": ["a", "b"]}),
    "another name": ConfigRecord({"parts": PIECES}),
    "arrays in the place of pieces": ArrayRecord({"0": Array(np.zeros(3))}),
    "noise": ConfigRecord({"pieces": [*PIECES[:-1], b"\xff" * 60]}),
    "a piece of nothing": ConfigRecord({"pieces": [*PIECES, b""]}),
    "a piece too few": ConfigRecord({"pieces": PIECES[-1:]}),
    "a piece cut short": ConfigRecord({"pieces": [PIECES[0][:-2], *PIECES[1:]]}),
    "a record that is no content": ConfigRecord({"pieces": PIECES[:1]}),
    "more pieces than a message has": ConfigRecord({"pieces": [*(b"%d" % number for number in range(1001)), *PIECES]}),
}


@pytest.mark.attack
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_by_a_parcel_of(attack: str):
    content = RecordDict({"parcel": ATTACKS[attack]})
    with pytest.raises(UnreadableError, match="its parcel cannot be opened"):
        unwrap(content)
    order = Message(content, 1, "train")
    assert unwrapped(order).content is content, "the site's app refuses it, and writes that down"


class Answers(SerialGrid):
    """Nodes that answer with what a test says, whatever they are asked.

    Args:
        contents: by node.
    """

    def __init__(self, contents: dict[int, RecordDict | Error]) -> None:
        super().__init__({node: {} for node in contents})
        self.contents = contents
        self.pushed: list[RecordDict] = []

    def push_messages(self, messages):
        messages = list(messages)
        self.pushed += [message.content for message in messages]
        return super().push_messages(messages)

    def _answer(self, message: Message) -> Message:
        return Message(self.contents[message.metadata.dst_node_id], reply_to=message)


def test_a_parcel_that_cannot_be_opened_is_its_sites_failure_and_nobody_elses():
    bad, dead = RecordDict({"parcel": ATTACKS["noise"]}), Error(0, "its process died")
    inner = Answers({1: wrap(reply()), 2: bad, 3: dead, 4: reply()})
    grid = ParcelGrid(inner)
    order = reply()
    numbers = grid.push_messages([Message(order, node, "train") for node in grid.get_node_ids()])
    assert all(content is inner.pushed[0] for content in inner.pushed), "wrapped once"
    assert unwrap(inner.pushed[0]).object_id == order.object_id
    one, two, three, four = grid.pull_messages(numbers)
    assert one.content.object_id == four.content.object_id == order.object_id
    assert failure_of(two.error).startswith("the node failed: message: its parcel cannot be opened")
    assert failure_of(three.error) == "the node failed: its process died"


def test_an_answer_without_a_content_stays_a_failure():
    order = Message(reply(), 1, "train")
    failed = Message(Error(0, "no"), reply_to=order)
    assert wrapped(failed) is failed and failed.has_error()
    assert list(wrapped(Message(reply(), reply_to=order)).content) == [parcels._PARCEL]


@pytest.mark.attack
def test_attack_by_an_array_that_names_one_piece_again_and_again():
    record = ArrayRecord({"0": Array(dtype="uint8", shape=(1 << 20,), stype="safetensors", data=bytes(1 << 20))})
    pieces = {kind(part): part.deflate() for part in get_all_nested_objects(RecordDict({"arrays": record})).values()}
    array = pieces["Array"].replace(b"[0]", b"[" + b",".join([b"0"] * 10_000) + b"]")  # 10 GiB, of 20 kB and a piece
    body = array.partition(b"\0")[2]
    array = array.partition(b"\0")[0].rpartition(b" ")[0] + b" %d\0" % len(body) + body
    renamed = get_object_id(pieces["Array"]).encode(), get_object_id(array).encode()
    record_of = pieces["ArrayRecord"].replace(*renamed)
    whole = pieces["RecordDict"].replace(
        get_object_id(pieces["ArrayRecord"]).encode(), get_object_id(record_of).encode()
    )
    sent = ConfigRecord({"pieces": [pieces["ArrayChunk"], array, record_of, whole]})
    with pytest.raises(UnreadableError, match="ValueError") as refused:
        unwrap(RecordDict({"parcel": sent}))
    assert "arrays of more than" in str(refused.value.__cause__)


def kind(part: object) -> str:
    return type(part).__name__


@pytest.mark.attack
def test_an_order_becomes_no_larger_than_some_times_what_came_in(monkeypatch: pytest.MonkeyPatch):
    array = Array(dtype="uint8", shape=(1 << 20,), stype="safetensors", data=bytes(1 << 20))
    chunk, whole = (part.deflate() for part in get_all_nested_objects(array).values())
    body = whole.partition(b"\0")[2].replace(b"[0]", b"[" + b",".join([b"0"] * 2000) + b"]")
    bomb = b"Array %s %d\0" % (get_object_id(chunk).encode(), len(body)) + body  # 2 GiB

    def inflated(content: bytes) -> Array:
        contents = {get_object_id(one): one for one in (chunk, content)}
        return inflatable_utils.inflate_object_from_contents(get_object_id(content), contents)

    restore_flower(monkeypatch)
    inflate_in_bounds()
    assert inflated(whole).object_id == array.object_id
    with pytest.raises(ValueError, match="arrays of more than"):
        inflated(bomb)
