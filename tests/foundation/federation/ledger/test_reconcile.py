"""Two sides' ledgers, which must agree."""

import pytest

from foundation.errors import UserError
from foundation.federation.ledger import Ledger, verify
from foundation.federation.ledger.chain import head_path
from foundation.federation.ledger.reconcile import reconcile
from tests.foundation.federation.ledger.ledgers import DIGEST, OTHER, found, kinds, sides


def test_ledgers_that_agree_have_no_problem(books):
    assert found(*books) == []


def test_a_lost_message_is_told_from_a_contradiction(books):
    server, sites = books
    sites["alpha"].append("update", "out", run="r1", round=3, peer="hub", size=25, digest=DIGEST)
    server.append("order", "out", run="r1", round=3, peer="beta", size=100, digest=DIGEST)
    assert found(server, sites) == [
        ("lost", f"{sites['alpha'].path}: entry 5: update (run r1, round 3) went out, and never reached hub"),
        ("lost", f"{server.path}: entry 9: order (run r1, round 3) went out, and never reached beta"),
    ]
    # Sent once more, it comes in: the first one stays lost.
    sites["alpha"].append("update", "out", run="r1", round=3, peer="hub", size=26, digest=OTHER)
    server.append("update", "in", run="r1", round=3, peer="alpha", size=26, digest=OTHER)
    assert [kind for kind, _ in found(server, sites)] == ["lost", "lost"]


@pytest.mark.parametrize(
    ("server_says", "said"),
    [
        ({"digest": OTHER}, f"digest {OTHER[:12]}… against {DIGEST[:12]}…"),
        ({"size": 24}, "size 24 against 25"),
        ({"samples": {"fusion": 90}}, "samples {'fusion': 90} against {'fusion': 9}"),
        ({"masked": True}, "masked True against False"),
        ({"metrics": {"loss": 0.5}}, "metrics {'loss': 0.5} against {'loss': 0.25}"),
    ],
)
def test_a_message_that_came_in_otherwise_than_it_went_out_is_a_contradiction(books, server_says, said):
    server, sites = books
    message = {
        "run": "r1",
        "round": 3,
        "size": 25,
        "digest": DIGEST,
        "samples": {"fusion": 9},
        "metrics": {"loss": 0.25},
    }
    sites["alpha"].append("update", "out", **message, peer="hub")
    server.append("update", "in", **{**message, **server_says}, peer="alpha")
    assert found(server, sites) == [
        (
            "contradiction",
            f"{server.path}: entry 9: update (run r1, round 3) of alpha came in with {said} in its own ledger",
        )
    ]


def test_a_masked_update_is_another_for_the_server(books):
    server, sites = books
    sites["alpha"].append("update", "out", run="r1", round=3, peer="hub", size=25, digest=DIGEST, masked=True)
    server.append("update", "in", run="r1", round=3, peer="alpha", size=50, digest=OTHER, masked=True)
    assert found(server, sites) == []


def test_a_message_that_nobody_sent_is_a_contradiction(books):
    server, sites = books
    server.append("update", "in", run="r1", round=3, peer="beta", size=25, digest=DIGEST)
    sites["beta"].append("order", "in", run="r1", round=4, peer="hub", size=25, digest=DIGEST)
    assert [kind for kind, _ in found(server, sites)] == ["contradiction", "contradiction"]
    assert "which the ledger of beta does not say went out" in found(server, sites)[0][1]


def test_a_ledger_written_anew_verifies_alone_and_not_beside_the_other(books, tmp_path):
    """Whoever holds a ledger can make up a whole one; the other side remembers."""
    server, sites = books
    copies = [entry for entry in sites["alpha"].entries() if entry.direction]
    for file in (sites["alpha"].path, head_path(sites["alpha"].path)):
        file.unlink()
    forged = Ledger.open(tmp_path / "alpha.jsonl", "alpha")
    for entry in copies:  # the same messages, but for the privacy that they cost, say
        kept = entry.model_dump(
            exclude_defaults=True, exclude={"index", "previous", "time", "hash", "kind", "direction"}
        )
        forged.append(entry.kind, entry.direction, **kept)
    assert verify(forged.path) == []
    problems = found(server, {**sites, "alpha": forged})
    assert [kind for kind, _ in problems] == ["contradiction", "contradiction"]
    assert all("of alpha that its ledger no longer has" in text for _, text in problems)


def test_a_side_whose_ledger_was_not_given_is_said(books):
    server, sites = books
    ((kind, text),) = found(server, {"alpha": sites["alpha"]})
    assert (kind, text) == ("unchecked", f"{server.path}: 4 messages with beta: no ledger given")


def test_a_server_may_keep_a_ledger_a_run(books, tmp_path):
    server, sites = books
    second = Ledger.open(tmp_path / "second.jsonl", "hub", "server")
    order = {"run": "r2", "round": 1, "size": 100, "digest": DIGEST}
    for site in sites.values():
        second.append("order", "out", **order, peer=site.owner)
        site.append("order", "in", **order, peer="hub", witness=second.head)
    alpha, beta = (site.path for site in sites.values())
    assert [str(problem) for problem in reconcile(sides(server.path, alpha, beta))] == [
        f"{path}: 1 messages with hub of run r2: no ledger given" for path in (alpha, beta)
    ]
    assert reconcile(sides(server.path, second.path, alpha, beta)) == []
    sites["beta"].append("order", "in", run="r2", round=2, peer="hub")
    assert kinds(reconcile(sides(server.path, second.path, alpha, beta))) == {"contradiction"}


def test_ledgers_must_be_a_servers_and_its_sites(books, tmp_path):
    server, sites = books
    alpha, beta = (site.path for site in sites.values())
    with pytest.raises(UserError, match="0 of servers and 2 of sites"):
        reconcile(sides(alpha, beta))
    with pytest.raises(UserError, match="one file is given twice"):
        reconcile(sides(server.path, alpha, alpha))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match="does not say whose ledger it is"):
        reconcile(sides(server.path, tmp_path / "empty.jsonl"))
    with pytest.raises(UserError, match="cannot be read"):
        reconcile(sides(server.path, tmp_path / "none.jsonl"))
