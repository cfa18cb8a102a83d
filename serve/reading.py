"""The body of a request as plain values: strict JSON, and nothing in it that JSON or a model's numbers cannot hold."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from foundation.modalities.request import RequestError, field_name

MOST_BYTES = 64 << 20
MALFORMED, TOO_LARGE = 400, 413  # HTTP
_DIGITS = 40  # of an integer: single precision ends at 39
_OBJECT = "send one JSON object a patient"
_FINITE = "give a finite number, or null where it is not known"


class _Fault:
    """What a scanner comes upon where JSON has a value: why it is none, and what to send instead."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy


def parse(body: Any) -> dict[str, Any]:
    """The object that a body holds.

    Args:
        body: JSON text, or what a host decoded it to.

    Raises:
        RequestError: if it is no JSON object in UTF-8, too large, says a key twice, or holds a number that is not
            finite or of more digits than any measurement; naming the field where there is one.
    """
    if isinstance(body, dict):
        return body
    if not isinstance(body, str | bytes | bytearray):
        raise RequestError("request", f"found a {type(body).__name__}", _OBJECT, MALFORMED)
    if not body:
        raise RequestError("request", "empty", f"{_OBJECT}, as Content-Type: application/json", MALFORMED)
    if len(body) > MOST_BYTES:
        raise RequestError("request", f"{len(body)} bytes", f"send at most {MOST_BYTES}", TOO_LARGE)
    try:
        return _checked(*_decode(body))
    except json.JSONDecodeError as error:
        reason = f"not JSON ({error.msg}, line {error.lineno})"
        raise RequestError("request", reason, _OBJECT, MALFORMED) from error
    except UnicodeError as error:
        raise RequestError("request", "not UTF-8 text", "send JSON as UTF-8", MALFORMED) from error
    except RecursionError as error:
        raise RequestError("request", "nested too deep", _OBJECT, MALFORMED) from error


def _checked(content: Any, faulty: bool) -> dict[str, Any]:
    if isinstance(content, _Fault):
        raise RequestError("request", content.reason, _OBJECT, MALFORMED)
    if not isinstance(content, dict):
        raise RequestError("request", f"found a {type(content).__name__}", _OBJECT, MALFORMED)
    if faulty:
        field, fault = next(_find(content, ""))
        raise RequestError(field_name(field), fault.reason, fault.remedy, MALFORMED)
    return content


def _decode(body: bytes | bytearray | str) -> tuple[Any, bool]:
    """What JSON text says, and whether faults stand in it where it has values that are none."""
    faults: list[_Fault] = []

    def fault(reason: str, remedy: str) -> _Fault:
        faults.append(_Fault(reason, remedy))
        return faults[-1]

    def constant(name: str) -> _Fault:
        return fault(f"found {name}, which is not JSON", _FINITE)

    def real(text: str) -> Any:
        value = float(text)
        return value if math.isfinite(value) else fault(f"found {text[:_DIGITS]}, beyond every number", _FINITE)

    def integer(text: str) -> Any:
        return int(text) if len(text) <= _DIGITS else fault(f"found an integer of {len(text)} digits", _FINITE)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(items)
        if len(content) < len(items):
            twice, _ = Counter(name for name, _ in items).most_common(1)[0]
            content[twice] = fault("stands twice", "say it once")
        return content

    text = body if isinstance(body, str) else body.decode()
    content = json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=real, parse_int=integer)
    if "\\ud" in text or "\\uD" in text:  # half of a surrogate pair is no text, and cannot be encoded
        json.dumps(content, ensure_ascii=False, default=str).encode()
    return content, bool(faults)


def _find(value: Any, field: str) -> Iterator[tuple[str, _Fault]]:
    """The faults in a value, with their fields' names."""
    if isinstance(value, _Fault):
        yield field, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _find(inner, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _find(inner, f"{field}[{index}]")
