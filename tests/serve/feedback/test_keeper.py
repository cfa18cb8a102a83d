"""A running host that keeps its answers, and a release in the shadow that gives none before it is cleared."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.modalities.request import RequestError
from serve.feedback.declared import declare
from serve.feedback.keeper import Keeper
from serve.feedback.ledger import FeedbackLedger
from serve.feedback.looks import look
from serve.feedback.store import Store
from serve.host import Call, Reply
from serve.release.rules import Rules
from tests.serve.feedback import releases
from tests.serve.feedback.releases import VERSION


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    release = releases.release(tmp_path / "release")
    FeedbackLedger(tmp_path / "own").declare(declare(release / "bundle", release, Rules(brier=0.2), 0.05))
    return tmp_path / "own"


CALL = Call(b"{}", {}, "case-1")


def answered(chance: float = 0.7, version: str = VERSION) -> Reply:
    prediction = {"class": "positive", "probabilities": {"negative": 1 - chance, "positive": chance}}
    counted = {"prediction": prediction, "reliability": None, "modalities_used": ["report"], "version": version}
    return Reply(200, json.dumps({"prediction": prediction}).encode(), {}, {**counted, "examined": {}})


def kept(folder: Path) -> list[tuple[float, int]]:
    asked = Store(folder).asked(VERSION)
    return [(row.quarter[:2] == "20", row.shadow) for row in asked.itertuples()]


def test_an_answer_about_a_named_patient_is_kept_and_goes_out_as_it_is(folder: Path) -> None:
    keeper, reply = Keeper(folder, False, VERSION), answered()
    assert keeper.keep(CALL, reply, b"anna") is reply
    assert keeper.keep(CALL, reply, None) is reply
    assert kept(folder) == [(True, 0)]
    refusal = Reply(422, b"{}", {})
    assert keeper.keep(CALL, refusal, b"ben") is refusal and len(kept(folder)) == 1


def test_in_the_shadow_nobody_is_answered_until_outcomes_have_cleared_the_release(folder: Path) -> None:
    keeper, patients = Keeper(folder, True, VERSION), [f"p{number}" for number in range(80)]
    chances, labels = releases.drawn(80, 1)
    for patient, chance in zip(patients, chances, strict=True):
        reply = keeper.keep(CALL, answered(chance), patient.encode())
        assert reply.status == 202 and json.loads(reply.body) == {"kept": True, "request_id": "case-1"}
        assert str(chance).encode() not in reply.body
    store, ledger = Store(folder), FeedbackLedger(folder)
    store.add_outcomes([(p, "positive", int(y)) for p, y in zip(patients, labels, strict=True)], "2999-Q1")
    look(store, ledger, VERSION, "2999-Q1", 50)
    reply = answered()
    assert keeper.keep(CALL, reply, b"later") is reply
    assert [shadow for _, shadow in kept(folder)] == [1] * 80 + [0]


@pytest.mark.parametrize(
    ("patient", "reply", "status", "words"),
    [
        (None, answered(), 400, "not given, and this release is in the shadow"),
        (" \u00a0".encode(), answered(), 400, "not given"),
        (b"anna", Reply(200, b"{}", {}), 503, "an explanation tells the answer"),
        (b"anna", answered(version="other"), 503, "the answer cannot be kept"),
    ],
)
def test_what_would_tell_or_cannot_be_kept_is_refused_in_the_shadow(
    patient: bytes | None, reply: Any, status: int, words: str, folder: Path
) -> None:
    with pytest.raises(RequestError, match=words) as refused:
        Keeper(folder, True, VERSION).keep(CALL, reply, patient)
    assert refused.value.status == status


def test_what_cannot_be_kept_goes_out_where_there_is_no_shadow(folder: Path) -> None:
    reply = answered(version="other")
    assert Keeper(folder, False, VERSION).keep(CALL, reply, b"anna") is reply
    assert kept(folder) == []


def test_a_release_that_nobody_declared_does_not_start(folder: Path) -> None:
    with pytest.raises(UserError, match="version other was not declared here"):
        Keeper(folder, False, "other")


def test_an_outcome_finds_the_answer_of_a_patient_whose_id_is_not_ascii(folder: Path) -> None:
    Keeper(folder, False, VERSION).keep(CALL, answered(), "Müller 7".encode())
    assert Store(folder).add_outcomes([("Müller 7", "positive", 1)], "2999-Q1") == {"new": 1}


@pytest.mark.parametrize("shadow", [False, True])
def test_an_id_in_another_encoding_is_refused(shadow: bool, folder: Path) -> None:
    with pytest.raises(RequestError, match="X-Patient: not in UTF-8; send the id as UTF-8") as refused:
        Keeper(folder, shadow, VERSION).keep(CALL, answered(), "Müller".encode("latin-1"))
    assert refused.value.status == 400 and kept(folder) == []


@pytest.mark.parametrize("shadow", [True, False])
def test_an_id_that_is_too_long_is_refused_as_such(shadow: bool, folder: Path) -> None:
    with pytest.raises(RequestError, match="longer than 256 characters, with 300") as refused:
        Keeper(folder, shadow, VERSION).keep(CALL, answered(), b"x" * 300)
    assert (refused.value.field, refused.value.status) == ("X-Patient", 400)
    assert kept(folder) == []
    Keeper(folder, shadow, VERSION).keep(CALL, answered(), "ü".encode() * 256)
    assert len(kept(folder)) == 1


@pytest.mark.parametrize("by", ["answer", "outcome"])
def test_blanks_around_an_id_are_no_part_of_it(by: str, folder: Path) -> None:
    store, ids = Store(folder), {"answer": "7", "outcome": "7"} | {by: " 7 "}
    declared = FeedbackLedger(folder).of_version(VERSION)
    counted = answered().counted
    assert counted is not None
    store.keep([declared.answer(ids["answer"], counted)], "2999-Q1", False)
    assert store.add_outcomes([(ids["outcome"], "positive", 1)], "2999-Q1") == {"new": 1}
