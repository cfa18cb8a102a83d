"""Many arrays travel as one object, and come back as they were."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foundation.errors import UserError
from foundation.federation.wire.tensors import PackedTensors, UnreadableError, to_record

TYPES = [np.float32, np.float64, np.float16, np.int64, np.int8, np.uint8, np.uint16, np.bool_]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.sampled_from(TYPES).flatmap(
            lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        max_size=5,
    )
)
def test_arrays_come_back_to_the_bit(values: dict):
    found = PackedTensors(to_record(values))
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()


def test_a_transposed_array_keeps_its_values():
    value = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(PackedTensors(to_record({"a": value}))["a"], value)


def test_large_arrays_travel_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.federation.wire.tensors._PART", 100)
    values = {str(number): np.full((number, 4), number, np.float32) for number in range(12)}
    record = to_record(values)
    assert len(record) > 4
    assert max(len(array.data) for array in record.values()) < 100 + 11 * 16 + 200, "an array is never cut"
    found = PackedTensors(record)
    assert all(np.array_equal(found[name], value) for name, value in values.items())
    assert len(found) == 12


def test_an_array_that_stands_in_two_parts_is_refused():
    part = to_record({"a": np.ones(2, np.float32)})["0"]
    with pytest.raises(UserError, match="an array stands in two parts"):
        PackedTensors(ArrayRecord({"0": part, "1": part}))


def test_a_thousand_arrays_are_one_object():
    assert len(to_record({str(number): np.zeros(3, np.float32) for number in range(1000)})) == 1


def test_the_bytes_lie_in_memory_once():
    record = to_record({"a": np.ones(1000, np.float32), "b": np.ones(10, np.float32)})
    found = PackedTensors(record)
    assert np.shares_memory(found["a"], np.frombuffer(record["0"].data, np.uint8))
    assert not found["a"].flags.writeable


@pytest.mark.parametrize("data", [b"no", b"\x02\0\0\0\0\0\0\0{}"[:9], b'\x40\0\0\0\0\0\0\0{"a": 1}', b"\xff" * 20])
def test_other_bytes_are_refused(data: bytes):
    with pytest.raises(UserError, match="cannot be read"):
        PackedTensors(ArrayRecord({"arrays": Array(dtype="uint8", shape=(len(data),), stype="safetensors", data=data)}))


@pytest.mark.parametrize("offsets", [[0, 4], [0, 80], [-8, 0], [8, 0]])
def test_an_array_that_reaches_beyond_its_bytes_is_refused(offsets: list[int]):
    header = f'{{"a": {{"dtype": "F32", "shape": [2], "data_offsets": {offsets}}}}}'.encode()
    data = len(header).to_bytes(8, "little") + header + bytes(8)
    with pytest.raises(UserError, match="cannot be read"):
        PackedTensors(ArrayRecord({"arrays": Array(dtype="uint8", shape=(len(data),), stype="safetensors", data=data)}))


@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**70], [0, 2**62, 2**62]])
def test_a_shape_that_no_array_has_is_refused_with_its_message(shape: list[int]):
    size = 0 if 0 in shape else 4
    header = f'{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, {size}]}}}}'.encode()
    data = len(header).to_bytes(8, "little") + header + bytes(size)
    with pytest.raises(UnreadableError, match="cannot be read"):
        PackedTensors(ArrayRecord({"arrays": Array(dtype="uint8", shape=(len(data),), stype="safetensors", data=data)}))


def test_a_header_of_millions_of_entries_is_not_parsed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.federation.wire.tensors._HEADER", 1000)
    header = b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}' + b" " * 1000 + b"}"
    data = len(header).to_bytes(8, "little") + header
    with pytest.raises(UnreadableError, match="header above"):
        PackedTensors(ArrayRecord({"arrays": Array(dtype="uint8", shape=(len(data),), stype="safetensors", data=data)}))
