"""Malformed answers of a site: each is the sender's fault in one line, and quotes nothing of it."""

import json

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from foundation.federation.wire.messages import Reply, pack_reply, unpack_reply
from foundation.federation.wire.tensors import UnreadableError


def answer(**parts: ArrayRecord | ConfigRecord | MetricRecord) -> RecordDict:
    return RecordDict({**pack_reply(Reply("alpha", samples={"fusion": 4})), **parts})


def arrays(header: bytes, body: bytes = b"") -> ArrayRecord:
    data = len(header).to_bytes(8, "little") + header + body
    return ArrayRecord({"0": Array(dtype="uint8", shape=(len(data),), stype="safetensors", data=data)})


def described(**entry: object) -> ArrayRecord:
    return arrays(json.dumps({"line": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **entry}}).encode())


pytestmark = pytest.mark.attack
MALFORMED = {
    "counts without an end": answer(samples=MetricRecord({"fusion": float("inf")})),
    "counts that are no numbers": answer(samples=MetricRecord({"fusion": float("nan")})),
    "counts by the list": answer(samples=MetricRecord({"fusion": [1, 2]})),
    "a shape whose product wraps around": answer(arrays=described(shape=[2**32, 2**32], data_offsets=[0, 0])),
    "a shape below nothing": answer(arrays=described(shape=[-1, -1])),
    "a shape that is text": answer(arrays=described(shape=["1"])),
    "offsets beyond the message": answer(arrays=described(data_offsets=[0, 1 << 40])),
    "two arrays of the same bytes": answer(
        arrays=arrays(
            json.dumps(
                {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in ("a", "b")}
                | {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("c", "d")}
            ).encode(),
            bytes(4),
        )
    ),
    "bytes of no array": answer(arrays=arrays(b"{}", bytes(4))),
    "a truth for an offset": answer(arrays=described(data_offsets=[False, 4])),
    "a type of no array": answer(arrays=described(dtype="${oc.env:HOME}")),
    "a header a hundred thousand deep": answer(arrays=arrays(b"[" * 200_000)),
    "a header of nothing": answer(arrays=arrays(b"")),
    "a header that is a list": answer(arrays=arrays(b"[1]")),
    "no facts": RecordDict({"arrays": ArrayRecord()}),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_an_answer_with(fault: str):
    with pytest.raises(UnreadableError, match="^message: ") as error:
        unpack_reply(MALFORMED[fault])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200 and "oc.env" not in str(error.value)
