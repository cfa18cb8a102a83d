"""Ledgers: what is written, what a crash leaves, what tampering leaves, and two sides that must agree."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.federation.ledger import Ledger, verify
from foundation.federation.ledger.__main__ import main
from foundation.federation.ledger.chain import head_path, read_chain
from foundation.federation.ledger.entry import GENESIS, Entry
from foundation.federation.ledger.files import load
from foundation.federation.ledger.reconcile import Side, reconcile
from foundation.federation.ledger.spent import EMBEDDINGS, UPDATES, Spent, releases, spent_by_run
from foundation.federation.wire.digest import WeightsDigest, digest_of_weights

DIGEST = "ab" * 32
OTHER = "cd" * 32


def epsilon_of(path: Path, run: str | None = None) -> float:
    spent = spent_by_run(load(path).entries)
    return sum(loss.epsilon for name, loss in spent.items() if run in (None, name))


def sides(*paths: Path) -> list[Side]:
    return [Side.read(path) for path in paths]


def kinds(problems) -> set[str]:
    return {problem.kind for problem in problems}


def rounds(ledger: Ledger, count: int, start: int = 1) -> None:
    for number in range(start, start + count):
        ledger.append("order", "in", run="r1", round=number, peer="server", size=100, digest=DIGEST)
        ledger.append(
            "update",
            "out",
            run="r1",
            round=number,
            peer="server",
            groups=["fusion", "pathology"],
            size=25,
            digest=OTHER,
            norms={"fusion": 0.5, "pathology": float("nan")},
            samples={"fusion": 9, "pathology": 4},
            epsilon=0.1 * number,
            delta=1e-5,
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site" / "ledger.jsonl"


def test_an_entry_is_a_canonical_line_that_names_the_hash_of_the_one_before(path: Path):
    ledger = Ledger.open(path, "riverside")
    rounds(ledger, 1)
    lines = path.read_bytes().splitlines()
    contents = [json.loads(line) for line in lines]
    assert (contents[0]["owner"], contents[0]["role"]) == ("riverside", "site")
    assert contents[0]["previous"] == GENESIS
    for before, after, line in zip(contents, contents[1:], lines[1:], strict=False):
        assert after["previous"] == before["hash"]
        assert line == json.dumps(after, sort_keys=True, separators=(",", ":")).encode()
    update = contents[2]
    assert update["norms"] == {"fusion": 0.5, "pathology": None}
    assert (update["direction"], update["kind"], update["size"], update["samples"]) == (
        "out",
        "update",
        25,
        {"fusion": 9, "pathology": 4},
    )
    assert verify(path) == []
    assert ledger.head == update["hash"]
    assert [entry.index for entry in ledger.entries()] == [0, 1, 2]
    for file in (path, head_path(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_ledger_goes_on_where_it_ended_and_is_one_owners(path: Path):
    rounds(Ledger.open(path, "riverside"), 1)
    rounds(Ledger.open(path, "riverside"), 1, start=2)
    assert [entry.round for entry in load(path).entries] == [None, 1, 1, 2, 2]
    assert verify(path) == []
    with pytest.raises(UserError, match="is the ledger of site riverside, not of site northgate"):
        Ledger.open(path, "northgate")
    with pytest.raises(UserError, match="is the ledger of site riverside, not of server riverside"):
        Ledger.open(path, "riverside", "server")


def test_a_ledger_that_others_could_read_is_closed_to_them(path: Path):
    Ledger.open(path, "riverside")
    path.chmod(0o644)
    Ledger.open(path, "riverside")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"note": "two\nlines"}, "note"),
        ({"note": "x" * 301}, "note"),
        ({"run": "a\x00b"}, "run"),
        ({"digest": "abc"}, "digest"),
        ({"samples": {"fusion": -1}}, "samples.fusion"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"patient": "P1"}, "patient"),
        ({"weights": [0.5]}, "weights"),
    ],
)
def test_there_is_no_room_for_anything_else(path: Path, facts: dict, field: str):
    ledger = Ledger.open(path, "riverside")
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"{path.name}: {field}: .*a ledger holds no such"):
        ledger.append("note", None, **facts)
    assert path.read_bytes() == before


# Tampering


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    rounds(Ledger.open(path, "riverside"), 3)
    assert verify(path) == []
    return path, path.read_bytes(), head_path(path).read_bytes()


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


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


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


# Crashes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 500), behind=st.booleans())
def test_a_half_written_entry_is_removed_and_that_is_noted(tmp_path, cut, behind):
    path = tmp_path / f"{time.monotonic_ns()}" / "ledger.jsonl"
    ledger = Ledger.open(path, "riverside")
    rounds(ledger, 1)
    if behind:  # killed between the line and the head file: one finished entry that the head does not know
        head = head_path(path).read_bytes()
        rounds(ledger, 1, start=2)
        head_path(path).write_bytes(head)
    whole = path.read_bytes()
    torn = lines_of(whole)[-1].replace(b"\n", b"")[:cut]
    path.write_bytes(whole + torn)
    assert kinds(verify(path)) == {"unfinished"}
    assert epsilon_of(path) == pytest.approx(0.2 if behind else 0.1)
    again = Ledger.open(path, "riverside")
    notes = [entry.note for entry in again.entries() if entry.kind == "recovered"]
    assert len(notes) == 1 + behind
    assert f"removed an unfinished line of {len(torn)} bytes" in notes[0]
    assert not behind or "had not counted the last 2 entries" in notes[1]
    assert path.read_bytes().startswith(whole)
    assert verify(path) == []


def test_a_crash_before_the_first_entry_was_whole(path: Path):
    Ledger.open(path, "riverside")
    first = path.read_bytes()
    head_path(path).unlink()
    assert verify(path) == []  # killed before the first head file: nothing can have been cut
    path.write_bytes(first[:50])
    ledger = Ledger.open(path, "riverside")
    assert [entry.kind for entry in ledger.entries()] == ["opened", "recovered"]
    assert verify(path) == []


WRITER = """
import sys
from pathlib import Path
from foundation.federation.ledger import Ledger
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger.open(path, "riverside")
for number in range(count):
    while number == count // 2 and all(entry.run in ("", name) for entry in ledger.entries()):
        pass  # until the other has written, too: so that they do write at once
    ledger.append("update", "out", run=name, round=number, peer="server", size=7, epsilon=0.1 * (number + 1))
    print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.process
def test_two_processes_take_turns(path: Path):
    processes = [writer(path, name, 60) for name in ("a", "b")]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert verify(path) == []
    entries = load(path).entries
    for name in ("a", "b"):
        assert [entry.round for entry in entries if entry.run == name] == list(range(60))
    runs = [entry.run for entry in entries]
    assert runs != sorted(runs), "they wrote at once"
    assert epsilon_of(path) == pytest.approx(12.0)
    assert epsilon_of(path, "a") == pytest.approx(6.0)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from foundation.federation.ledger import Ledger
path, kills, said = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
acknowledged = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
draw = random.Random(0)
for turn in range(kills):
    before = os.fstat(acknowledged).st_size
    child = os.fork()
    if child == 0:
        ledger = Ledger.open(path, "riverside")
        while True:
            entry = ledger.append("update", "out", run=str(turn), peer="server", size=7, note="x" * 200)
            os.write(acknowledged, entry.hash.encode() + b"\\n")
    while os.fstat(acknowledged).st_size < before + 65 * 5:
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
Ledger.open(path, "riverside")
"""


@pytest.mark.process
def test_a_writer_killed_again_and_again_loses_nothing_that_it_acknowledged(path: Path, tmp_path: Path):
    said = tmp_path / "acknowledged"
    arguments = [sys.executable, "-c", KILLED, str(path), "40", str(said)]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert verify(path) == []
    hashes = [entry.hash for entry in load(path).entries]
    acknowledged = said.read_text().split()
    assert len(acknowledged) >= 40 * 5
    assert set(acknowledged) <= set(hashes)
    assert sorted(acknowledged, key=hashes.index) == acknowledged


FULL = """
import resource, sys
from pathlib import Path
from foundation.errors import UserError
from foundation.federation.ledger import Ledger
path = Path(sys.argv[1])
ledger = Ledger.open(path, "riverside")
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 900, resource.RLIM_INFINITY))
try:
    while True:
        ledger.append("update", "out", run="r", peer="server", size=7)
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.append("note", note="there is room again")
"""


@pytest.mark.process
def test_an_entry_that_finds_no_room_leaves_nothing_behind(path: Path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], cwd=Path(__file__).parents[4], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{path}: entry not written (File too large); make room, then try again\n"
    assert verify(path) == []
    entries = load(path).entries
    assert entries[-1].note == "there is room again"
    assert {entry.kind for entry in entries} == {"opened", "update", "note"}


# Digests and privacy


ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, np.int64), "c": np.zeros((0, 2))}


def test_a_digest_is_that_of_names_types_shapes_and_values():
    digest = digest_of_weights(ARRAYS)
    assert digest == digest_of_weights(dict(reversed(ARRAYS.items())))
    transposed = np.asfortranarray(ARRAYS["b"])
    assert digest == digest_of_weights({**ARRAYS, "b": transposed})
    assert digest == digest_of_weights({**ARRAYS, "b": ARRAYS["b"].astype(">f4")})
    others = [
        {**ARRAYS, "b": ARRAYS["b"].reshape(3, 2)},
        {**ARRAYS, "b": ARRAYS["b"].astype(np.float64)},
        {**ARRAYS, "b": ARRAYS["b"].view(np.int32)},
        {**ARRAYS, "b": np.nextafter(ARRAYS["b"], np.float32(9))},
        {"b": ARRAYS["b"], "a": ARRAYS["a"]},
        {"B": ARRAYS["b"], "a": ARRAYS["a"], "c": ARRAYS["c"]},
        {},
    ]
    assert len({digest, *map(digest_of_weights, others)}) == 1 + len(others)
    by_hand = WeightsDigest()
    for name in ("a", "c", "b"):
        by_hand.update(name, ARRAYS[name])
    assert (by_hand.hexdigest(), by_hand.bytes) == (digest, 32)


def test_privacy_adds_up_over_runs_and_repeated_ones(path: Path):
    ledger = Ledger.open(path, "riverside")
    for run, epsilon in (("a", 1.0), ("a", 1.5), ("b", 1.0), ("a", 0.5), ("a", 0.9)):
        ledger.append("update", "out", run=run, epsilon=epsilon, delta=1e-5)
        ledger.append("evaluation", "out", run=run, epsilon=epsilon, delta=1e-5)
    ledger.append("update", "in", run="c", epsilon=9.0)
    assert spent_by_run(ledger.entries()) == {"a": Spent(2.4, 2e-5), "b": Spent(1.0, 1e-5)}
    assert epsilon_of(path) == pytest.approx(3.4)
    assert epsilon_of(path, "b") == 1.0
    assert releases(ledger.entries(), "a") == 4
    ledger.append("embeddings", "out", run="a", epsilon=1.9, delta=2e-5)
    found = [releases(ledger.entries(), "a", kinds) for kinds in (UPDATES, EMBEDDINGS)]
    assert found == [4, 1] and releases(ledger.entries(), "a") == 5
    assert epsilon_of(path, "a") == pytest.approx(1.5 + 1.9)


# Two sides


@pytest.fixture
def books(tmp_path: Path) -> tuple[Ledger, dict[str, Ledger]]:
    """A server and two sites after two rounds in which all agree."""
    server = Ledger.open(tmp_path / "server.jsonl", "hub", "server")
    sites = {name: Ledger.open(tmp_path / f"{name}.jsonl", name) for name in ("alpha", "beta")}
    for number in (1, 2):
        for site in sites.values():
            exchange(server, site, number)
    return server, sites


def exchange(server: Ledger, site: Ledger, number: int) -> None:
    way = {"run": "r1", "round": number}
    server.append("order", "out", **way, peer=site.owner, size=100, digest=DIGEST)
    site.append("order", "in", **way, peer="hub", size=100, digest=DIGEST, witness=server.head)
    update = {"size": 25, "digest": f"{number:02d}" * 32, "samples": {"fusion": 9}, "groups": ["fusion"]}
    site.append("update", "out", **way, peer="hub", **update)
    server.append("update", "in", **way, peer=site.owner, **update, witness=site.head)


def found(server: Ledger, sites: dict[str, Ledger]) -> list[tuple[str, str]]:
    problems = reconcile(sides(server.path, *(site.path for site in sites.values())))
    return [(problem.kind, str(problem)) for problem in problems]


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


# The command


@pytest.fixture
def called(monkeypatch, capsys):
    def run(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["python -m foundation.federation.ledger", *arguments])
        GlobalHydra.instance().clear()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            GlobalHydra.instance().clear()
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return run


def given_as(*ledgers: Ledger) -> str:
    return f"ledgers=[{','.join(str(ledger.path) for ledger in ledgers)}]"


def test_the_command_shows_each_ledger_and_that_all_is_well(books, called, tmp_path):
    server, sites = books
    everyone = given_as(server, *sites.values())
    code, out, err = called("verify", everyone, f"output={tmp_path / 'out'}")
    assert (code, err) == (0, [])
    for text in ("server hub: 9 entries", "site alpha: 5 entries", "site beta", "3 ledgers: nothing was altered"):
        assert text in out
    report = json.loads((tmp_path / "out" / "ledgers.json").read_text())
    assert report["problems"] == []
    assert report["ledgers"][str(server.path)]["runs"] == [
        {
            "run": "r1",
            "rounds": [1, 2],
            "out": 4,
            "in": 4,
            "bytes_out": 400,
            "bytes_in": 100,
            "epsilon": None,
            "delta": None,
        }
    ]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["metrics"] == {"problems": 0, "lost": 0}
    assert called("reconcile", everyone)[0] == 0


def test_the_command_ends_with_code_2_and_a_line_a_problem(books, called):
    server, sites = books
    path = sites["alpha"].path
    path.write_bytes(path.read_bytes().replace(b'"size":25', b'"size":52', 1))
    code, out, err = called("verify", given_as(*sites.values()))
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(f"error: {path}: entry 2: its content and its hash disagree")
    assert "nothing was altered" not in out
    code, _, err = called("verify", given_as(server, *sites.values()))
    assert (code, len(err)) == (2, 2)
    assert "came in with size 25 against 52" in err[1]
    path.write_bytes(b"x" + path.read_bytes())
    code, _, err = called("verify", given_as(server, *sites.values()))
    assert code == 2
    assert err[0].startswith(f"error: {path}: entry 0: cannot be read")


def test_lost_messages_are_a_problem_when_asked(books, called):
    server, sites = books
    server.append("order", "out", run="r1", round=3, peer="beta", size=100, digest=DIGEST)
    everyone = given_as(server, *sites.values())
    code, out, err = called("verify", everyone)
    assert (code, err) == (0, [])
    assert f"lost: {server.path}: entry 9: order" in out
    code, _, err = called("verify", everyone, "--strict")
    assert (code, len(err)) == (2, 1)


def test_entries_can_be_shown(books, called):
    _, sites = books
    code, out, err = called("show", given_as(sites["alpha"]), "run=r1")
    assert (code, err) == (0, [])
    assert out.count("update") == out.count("order") == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: python -m foundation.federation.ledger: 'nothing' given; say verify, reconcile or show"),
        (["verify"], "error: ledgers: none given; say ledgers=[site/ledger.jsonl,server/ledger.jsonl]"),
        (["verify", "ledger=[a]"], "error: Could not override 'ledger'; did you mean 'ledgers'?"),
        (["verify", "ledgers=nowhere"], "error: nowhere: cannot be read (No such file or directory)"),
    ],
)
def test_what_cannot_be_done_is_one_line(called, arguments, line):
    code, _, err = called(*arguments)
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(line)


@pytest.mark.process
def test_the_command_as_people_type_it(books):
    server, sites = books
    arguments = [sys.executable, "-m", "foundation.federation.ledger", "verify", given_as(server, *sites.values())]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 ledgers: nothing was altered" in done.stdout
