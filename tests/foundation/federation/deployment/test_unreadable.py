"""Bytes of a dishonest node that Flower cannot put together: a failure of that node, in Flower the end of the run."""

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.superlink.grid import http_grid

from foundation.federation.deployment.flower_patches import identify_process, inflate_once
from foundation.federation.wire.messages import failure_of

pytestmark = pytest.mark.attack


def objects() -> tuple[str, dict[str, bytes], str]:
    """A message's own id, its objects, and the id of its record."""
    identify_process()
    message = Message(RecordDict({"facts": ConfigRecord({"hospital": "alpha"})}), 1, "train")
    parts = get_all_nested_objects(message)
    record = next(name for name, part in parts.items() if isinstance(part, ConfigRecord))
    return message.object_id, {name: part.deflate() for name, part in parts.items()}, record


ATTACKS = {
    "an object that is missing": lambda whole, record: {name: data for name, data in whole.items() if name != record},
    "an object of noise": lambda whole, record: {**whole, record: b"\xff" * 40},
    "an object of nothing": lambda whole, record: {**whole, record: b""},
    "an object of an unknown kind": lambda whole, record: {
        **whole,
        record: whole[record].replace(b"ConfigRecord", b"ConfigRecorx"),
    },
    "an object cut short": lambda whole, record: {**whole, record: whole[record][:-3]},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_by(attack: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_grid, "inflate_object_from_contents", http_grid.inflate_object_from_contents)
    number, whole, record = objects()
    with pytest.raises(Exception):  # noqa: B017 - whatever Flower's reader makes of it
        http_grid.inflate_object_from_contents(number, ATTACKS[attack](dict(whole), record))
    inflate_once(1 << 30)
    answer = http_grid.inflate_object_from_contents(number, ATTACKS[attack](dict(whole), record))
    assert isinstance(answer, Message) and answer.has_error()
    assert failure_of(answer.error).startswith("the node failed: its answer cannot be read (")
    assert http_grid.inflate_object_from_contents(number, dict(whole)).content.config_records["facts"]["hospital"]


def test_attack_by_a_record_in_the_place_of_a_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http_grid, "inflate_object_from_contents", http_grid.inflate_object_from_contents)
    inflate_once(1 << 30)
    _, whole, record = objects()
    answer = http_grid.inflate_object_from_contents(record, whole)
    assert isinstance(answer, Message) and failure_of(answer.error).endswith("(no message)")
