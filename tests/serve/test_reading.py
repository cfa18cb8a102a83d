"""The body of a request is read strictly: what JSON or a model's numbers cannot hold is refused by its field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.modalities.request import RequestError
from serve.reading import parse

FAULTY = {
    "NaN": ('{"record": {"age": NaN}}', "record.age: found NaN, which is not JSON"),
    "infinity in a list": ('{"a": [1, [2, -Infinity]]}', "a[1][1]: found -Infinity, which is not JSON"),
    "a number beyond all": ('{"record": {"age": 1e999}}', "record.age: found 1e999, beyond every number"),
    "thousands of digits": ('{"record": {"age": %s}}' % ("9" * 5000), "record.age: found an integer of 5000 digits"),
    "a key twice": ('{"record": {"age": 1, "sex": "F", "age": 2}}', "record.age: stands twice; say it once"),
    "a modality twice": ('{"report": "a", "report": {"b": NaN}}', "report: stands twice"),
    "half of a surrogate pair": (r'{"report": "\ud800"}', "request: not UTF-8 text"),
    "an escaped key twice": (r'{"a": 1, "\u0061": 2}', "a: stands twice"),
    "no object": ("[]", "request: found a list"),
    "a constant alone": ("NaN", "request: found NaN"),
    "nothing": ("", "request: empty"),
    "two objects": ("{} {}", "request: not JSON (Extra data, line 1)"),
    "nested without end": ("[" * 100_000, "request: nested too deep"),
    "objects without end": ('{"a":' * 100_000, "request: nested too deep"),
    "a number": (3, "request: found a int"),
}


@pytest.mark.parametrize(("body", "words"), FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize("encode", [False, True])
def test_what_is_no_strict_json_is_malformed_by_field(body: Any, words: str, encode: bool):
    with pytest.raises(RequestError) as caught:
        parse(body.encode() if encode and isinstance(body, str) else body)
    assert str(caught.value).startswith(words)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("serve.reading.MOST_BYTES", 10)
    with pytest.raises(RequestError, match="request: 11 bytes; send at most 10") as caught:
        parse(b"[[[[[[[[[[[")
    assert caught.value.status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(-1e300, 1e300) | st.integers(-(10**38), 10**38) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.booleans())
def test_all_other_json_is_read_as_it_is(content: dict[str, Any], ascii_alone: bool):
    text = json.dumps(content, ensure_ascii=ascii_alone)
    assert parse(text) == parse(text.encode()) == content
