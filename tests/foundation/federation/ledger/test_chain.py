"""The chain of a ledger: every change to it is found."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.chain import read_chain
from foundation.federation.ledger.entry import Entry
from tests.foundation.federation.ledger.ledgers import kinds, lines_of, rounds


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found(written, data):
    path, content, head = written
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    changed = content[:at] + bytes([byte]) + content[at + 1 :]
    assert read_chain(path, changed, head).problems


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_the_head_file_is_found(written, data):
    path, content, head = written
    at = data.draw(st.integers(0, len(head) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != head[at]))
    assert read_chain(path, content, head[:at] + bytes([byte]) + head[at + 1 :]).problems


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_removed_or_added_byte_is_found(written, data):
    path, content, head = written
    at = data.draw(st.integers(0, len(content) - 1))
    assert read_chain(path, content[:at] + content[at + 1 :], head).problems
    byte = bytes([data.draw(st.integers(0, 255))])
    assert read_chain(path, content[:at] + byte + content[at:], head).problems


@given(data=st.data())
@settings(deadline=None)
def test_any_set_of_removed_lines_is_found(written, data):
    path, content, head = written
    lines = lines_of(content)
    kept = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=len(lines) - 1))
    assert read_chain(path, b"".join(lines[index] for index in sorted(kept)), head).problems


@given(data=st.data())
@settings(deadline=None)
def test_any_other_order_of_lines_is_found(written, data):
    path, content, head = written
    lines = lines_of(content)
    order = data.draw(st.permutations(range(len(lines))).filter(lambda found: found != sorted(found)))
    assert "order" in kinds(read_chain(path, b"".join(lines[index] for index in order), head).problems)


@given(data=st.data())
@settings(deadline=None)
def test_a_repeated_line_is_found(written, data):
    path, content, head = written
    lines = lines_of(content)
    which, where = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines)))
    lines.insert(where, lines[which])
    assert read_chain(path, b"".join(lines), head).problems


def test_a_line_with_its_own_hash_mended_does_not_fit_the_next(written):
    path, content, head = written
    lines = lines_of(content)
    forged = Entry.model_validate_json(lines[2]).model_copy(update={"size": 1, "hash": ""}).sealed()
    lines[2] = forged.line() + b"\n"
    (problem,) = read_chain(path, b"".join(lines), head).problems
    assert (problem.kind, problem.index) == ("order", 3)
    assert str(problem).startswith(f"{path}: entry 3: does not follow from the entry before it")


def test_a_forged_last_line_does_not_fit_the_head(written):
    path, content, head = written
    lines = lines_of(content)
    lines[-1] = Entry.model_validate_json(lines[-1]).model_copy(update={"epsilon": 0.0, "hash": ""}).sealed().line()
    (problem,) = read_chain(path, b"".join(lines) + b"\n", head).problems
    assert "ledger.jsonl.head holds another hash" in str(problem)


def test_cut_entries_are_counted_and_a_missing_head_is_said(written):
    path, content, head = written
    (problem,) = read_chain(path, b"".join(lines_of(content)[:-2]), head).problems
    assert str(problem) == (f"{path}: holds 5 entries, but ledger.jsonl.head counted 7: entries were cut from the end")
    (problem,) = read_chain(path, content, None).problems
    assert problem.kind == "truncated"
    assert "ledger.jsonl.head is missing" in str(problem)
    assert kinds(read_chain(path, b"", head).problems) == {"truncated"}


def test_nothing_is_written_to_a_damaged_ledger(path: Path):
    rounds(Ledger.open(path, "riverside"), 2)
    whole = path.read_bytes()
    for damaged in (whole.replace(b'"size":25', b'"size":24', 1), b"".join(lines_of(whole)[:-1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="nothing is sent or received on a damaged ledger"):
            Ledger.open(path, "riverside")
        assert path.read_bytes() == damaged
    path.unlink()
    with pytest.raises(UserError, match="holds 0 entries, but ledger.jsonl.head counted 5"):
        Ledger.open(path, "riverside")


def test_an_open_ledger_notices_what_is_done_to_it(path: Path):
    ledger = Ledger.open(path, "riverside")
    rounds(ledger, 1)
    path.write_bytes(b"".join(lines_of(path.read_bytes())[:-1]))
    with pytest.raises(UserError, match="entries were cut from the end"):
        ledger.append("note")
