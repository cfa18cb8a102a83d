"""Mutated messages: what a dishonest side could put on the wire in the place of a whole one, drawn by seed."""

import json
import random
import struct
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

HOSTILE: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, -1e308, 1e-320, float("nan"), float("inf"), -float("inf")),
    *("", "x" * 70_000, "\x1b[2J\n", "\u202e", "\ud800", "../../etc/passwd", "${oc.env:HOME}", "[" * 60_000, "{}"),
    *([], [1, 2], [[]], {}, {"_target_": "os.system"}, b"", b"\x00" * 9, ["a"] * 3000),
]
NAMES = [
    "",
    "x" * 400,
    "encoder.fusion.patient",
    "a\x00b",
    "../x",
    "fusion",
    "objective:x",
    "__proto__",
    "a:int8",
    "a:b:c",
]
_TYPES = ["F64", "F32", "BOOL", "I8", "U64", "X", None, 5]


class Mutator:
    """Changes records as an attacker may.

    Args:
        seed: of all draws.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def mutated(self, content: RecordDict) -> RecordDict:
        """Another message that differs in one to three places; the given one stays as it is."""
        records = dict(content.items())
        for _ in range(self.draw.choice([1, 1, 1, 2, 3])):
            self.draw.choice([self._records, self._values, self._values, self._bytes, self._bytes])(records)
        return RecordDict(records)

    def _records(self, records: dict[str, Any]) -> None:
        names = list(records)
        if not names:
            return
        name = self.draw.choice(names)
        match self.draw.randrange(5):
            case 0:
                del records[name]
            case 1:
                records[self.draw.choice(NAMES) or "y"] = records.pop(name)
            case 2:
                records[name] = self.draw.choice([ArrayRecord(), ConfigRecord(), MetricRecord()])
            case 3:
                records[name] = records[self.draw.choice(names)]
            case _:
                records["extension"] = records[self.draw.choice(names)]

    def _values(self, records: dict[str, Any]) -> None:
        found = [name for name, record in records.items() if isinstance(record, ConfigRecord | MetricRecord)]
        if not found:
            return
        name = self.draw.choice(found)
        kind, content = type(records[name]), dict(records[name])
        key = self.draw.choice([*content, *NAMES])
        value = content.get(key)
        if isinstance(value, str) and self.draw.random() < 0.6:
            value = self._text(value)
        elif self.draw.random() < 0.1:
            content |= {f"{key}{number}": 1.0 for number in range(self.draw.choice([5] * 19 + [25_000]))}
        else:
            value = self.draw.choice(HOSTILE)
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
        try:
            records[name] = kind(content)
        except (TypeError, ValueError, OverflowError):  # Flower's records refuse it on the sender's side already
            return

    def _text(self, text: str) -> str:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            return text[: self.draw.randrange(len(text) + 1)] + self.draw.choice(["", "\x00", text])
        places = list(_places(tree))
        path = self.draw.choice(places)
        value = self.draw.choice([value for value in HOSTILE if not isinstance(value, bytes)])
        return json.dumps(_changed(tree, path, value))

    def _bytes(self, records: dict[str, Any]) -> None:
        found = [name for name, record in records.items() if isinstance(record, ArrayRecord)]
        filled = [name for name in found if records[name]]
        if not found:
            return
        name = self.draw.choice(filled if filled and self.draw.random() < 0.9 else found)
        arrays = dict(records[name])
        key = self.draw.choice([*arrays, "0"])
        data = arrays[key].data if key in arrays else b""
        ways = [self._flipped, self._cut, self._noise, *[self._reheaded] * 4, *[self._renumbered] * 4]
        data = self.draw.choice(ways)(data)
        shape = self.draw.choice([(len(data),), (len(data),), (2**40,), (-1,), ()])
        arrays[key] = Array(dtype="uint8", shape=shape, stype=self.draw.choice(["safetensors", "x"]), data=data)
        records[name] = ArrayRecord(arrays)

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.draw.choice([1, 3, 30])):
            if changed:
                changed[self.draw.randrange(len(changed))] ^= 1 << self.draw.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self.draw.randrange(len(data) + 1)] + self.draw.randbytes(self.draw.choice([0, 0, 7]))

    def _noise(self, data: bytes) -> bytes:
        return self.draw.randbytes(self.draw.choice([0, 7, 8, 9, 500]))

    def _renumbered(self, data: bytes) -> bytes:
        """The same header before numbers that are none, or far too large."""
        start = 8 + int.from_bytes(data[:8], "little")
        number = self.draw.choice([float("nan"), float("inf"), 3e38, -1e30, 1e7, 1e-40])
        changed = bytearray(data)
        for place in range(start, len(data) - 3, 4):
            if self.draw.random() < 0.5:
                changed[place : place + 4] = struct.pack("<f", number)
        return bytes(changed)

    def _reheaded(self, data: bytes) -> bytes:
        """Another header before the same bytes."""
        length = int.from_bytes(data[:8], "little")
        try:
            header = json.loads(data[8 : 8 + length])
        except (ValueError, RecursionError):
            return data
        if not isinstance(header, dict) or not header:
            return data
        name = self.draw.choice(list(header))
        entry = dict(header[name]) if isinstance(header[name], dict) else {}
        match self.draw.randrange(6):
            case 0:
                entry["dtype"] = self.draw.choice(_TYPES)
            case 1:
                entry["shape"] = self.draw.choice([[2**32, 2**32], [-1], [], [0, 2**62], ["1"], None, [1] * 70, 5])
            case 2:
                entry["data_offsets"] = self.draw.choice([[0, 1 << 40], [-4, 0], [8, 4], [0], [True, 4], "01", None])
            case 3:
                header[self.draw.choice(NAMES)] = header.pop(name)
            case 4:  # many views of the same bytes
                header |= {f"{name}{number}": entry for number in range(300)}
            case _:
                path = self.draw.choice(list(_places(header)))
                value = self.draw.choice([value for value in HOSTILE if not isinstance(value, bytes)])
                header = _changed(header, path, value)
        if isinstance(header, dict) and name in header:
            header[name] = entry
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _places(node: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield from _places(value, (*path, key))


def _changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = _changed(node[path[0]], path[1:], value)
    return copy


def finite(arrays: Any) -> bool:
    """Whether every number of some weights is one."""
    return all(np.isfinite(np.asarray(value, dtype=np.float64)).all() for value in arrays.values())
