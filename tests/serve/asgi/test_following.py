"""Another program in a running pool, and an endpoint that follows a registry: no request is lost."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.files import read_json, write_json
from serve.asgi import following
from serve.asgi.following import Follower
from serve.asgi.pool import Limits, Pool
from serve.host import Call, Reply

STUB = str(Path(__file__).with_name("stub_worker.py"))


def program(version: str) -> list[str]:
    """A worker that puts its version after each answer."""
    return [sys.executable, STUB, version]


async def answered(pool: Pool, body: bytes) -> Reply:
    return await pool.answer(Call(body, {}, body.decode()))


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_is_lost_while_another_program_takes_over(workers: int) -> None:
    async def use() -> tuple[list[Reply], list[int], int]:
        pool = Pool(program("one"), Limits(workers=workers, batch_size=3))
        await pool.start()
        replies: list[Reply] = []
        stopped = asyncio.Event()

        async def sender(name: int) -> None:
            number = 0
            while not stopped.is_set():
                replies.append(await answered(pool, b"slow" if number % 5 == 4 else b"%d-%d" % (name, number)))
                number += 1

        senders = [asyncio.create_task(sender(name)) for name in range(6)]
        marks = []
        for version in ("two", "three", "one"):
            await asyncio.sleep(0.2)
            marks.append(len(replies))
            await pool.replace(program(version))
        last = await answered(pool, b"last")
        stopped.set()
        await asyncio.gather(*senders)
        await pool.close()
        return [*replies, last], marks, pool.restarts

    replies, marks, restarts = asyncio.run(use())
    assert {reply.status for reply in replies} == {200}
    assert restarts == 0
    assert marks[0] < marks[1] < marks[2] < len(replies)  # they were answered meanwhile
    assert replies[-1].body.endswith(b" one")
    assert {reply.body.rpartition(b" ")[2] for reply in replies} == {b"one", b"two", b"three"}


@pytest.mark.process
def test_a_program_that_does_not_start_leaves_the_earlier_one() -> None:
    async def use() -> Reply:
        pool = Pool(program("one"), Limits())
        await pool.start()
        with pytest.raises(EOFError):
            await pool.replace([sys.executable, "-c", "pass"])
        reply = await answered(pool, b"a")
        await pool.close()
        return reply

    assert asyncio.run(use()).body.endswith(b" one")


class Served:
    """What a follower asks of a running application."""

    def __init__(self) -> None:
        self.model, self.versions, self.programs = "own", [], []
        self.pool, self.observer = self, self
        self.card = self.examples = None

    async def replace(self, program: list[str]) -> None:
        self.programs.append(program)

    def serve(self, version: str, document: dict[str, Any], hooks: dict[str, Any]) -> None:
        self.versions.append(version)
        self.document, self.hooks = document, hooks

    async def in_recorder(self, do: Any, *arguments: Any) -> None:
        self.counted = arguments[1]["version"]


@pytest.fixture
def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Follower, Served, Path]:
    """One that serves version 1 of a registry whose bundles are names alone."""

    def verified(bundle: Path, key: Path | None) -> tuple[Any, Any]:
        if bundle.parent.name == "altered":
            raise UserError(f"{bundle}: changed since")
        return SimpleNamespace(
            name="other" if bundle.parent.name == "other" else "own", version=bundle.parent.name
        ), None

    monkeypatch.setattr(following, "verify_bundle", verified)
    monkeypatch.setattr(following.manifest, "seal", lambda bundle: f"seal of {bundle.parent.name}")
    monkeypatch.setattr(
        following.manifest, "read_file", lambda bundle, _: b"{}" if bundle.parent.name == "fhir" else None
    )
    monkeypatch.setattr(following.openapi, "describe", lambda schema, fhir: {"fhir": fhir})
    monkeypatch.setattr(following, "discover", lambda schema, declaration: {"services": declaration is not None})
    for name in ("examples.read", "reference.load", "Card.load"):
        part, _, method = name.partition(".")
        monkeypatch.setattr(getattr(following, part), method, lambda *_: None)
    pointer = tmp_path / "current.json"
    facts = {"follows": str(pointer), "seal": "seal of 1", "version": "1", "trusted_key": None}
    write_json(tmp_path / "host.json", facts)
    write_json(tmp_path / "server.json", {"version": "1", "pid": 7})
    served = Served()
    point(pointer, "1")
    return Follower(tmp_path / "host.json", served), served, pointer  # type: ignore[arg-type]


def point(pointer: Path, name: str) -> None:
    write_json(pointer, {"release": name, "bundle": f"releases/{name}/bundle", "seal": f"seal of {name}"})


def looks(follower: Follower, times: int = 1) -> list[bool]:
    async def use() -> list[bool]:
        return [await follower.look() for _ in range(times)]

    return asyncio.run(use())


def test_a_follower_serves_what_the_registry_puts_to_use_once(follower: tuple[Follower, Served, Path]) -> None:
    one, served, pointer = follower
    assert looks(one) == [False]
    point(pointer, "2")
    assert looks(one, 3) == [True, False, False]
    assert (served.versions, served.counted) == (["2"], "2")
    assert served.programs[0][-2:] == [str(pointer.parent / "releases/2/bundle"), "seal of 2"]
    assert read_json(pointer.with_name("host.json"), "")["version"] == "2"
    assert read_json(pointer.with_name("server.json"), "") == {"version": "2", "pid": 7}
    point(pointer, "1")
    assert looks(one) == [True]
    assert served.versions == ["2", "1"]


@pytest.mark.parametrize("name", ["altered", "other"])
def test_a_release_that_cannot_be_served_leaves_the_one_before(
    name: str, follower: tuple[Follower, Served, Path], caplog: pytest.LogCaptureFixture
) -> None:
    one, served, pointer = follower
    point(pointer, name)
    assert looks(one, 3) == [False, False, False]
    assert not served.programs and not served.versions
    assert caplog.text.count("the one before goes on") == 1


@pytest.mark.parametrize("error", [EOFError("the worker ended"), UserError("not readable")])
def test_a_rollback_whose_worker_fails_for_a_moment_is_tried_again(
    error: Exception, follower: tuple[Follower, Served, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, served, pointer = follower
    now = [100.0]
    monkeypatch.setattr(following.time, "monotonic", lambda: now[0])
    failures = [error] * 2
    start = served.replace

    async def failing(program: list[str]) -> None:
        if failures:
            raise failures.pop()
        await start(program)

    async def use() -> list[tuple[bool, int]]:
        seen = []
        for time in (100, 104, 106, 110, 117, 130):
            now[0] = time
            seen.append((await one.look(), len(failures)))
        return seen

    monkeypatch.setattr(served, "replace", failing)
    point(pointer, "2")
    assert asyncio.run(use()) == [(False, 1), (False, 1), (False, 0), (False, 0), (True, 0), (False, 0)]
    assert served.versions == ["2"]


def test_the_contract_of_a_release_that_takes_fhir_says_so(follower: tuple[Follower, Served, Path]) -> None:
    one, served, pointer = follower
    point(pointer, "2")
    assert looks(one) == [True]
    assert (served.document, served.hooks) == ({"fhir": False}, {"services": False})
    point(pointer, "fhir")
    assert looks(one) == [True]
    assert (served.document, served.hooks) == ({"fhir": True}, {"services": True})


def test_a_release_that_is_not_served_whole_does_not_end_the_following(
    follower: tuple[Follower, Served, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, served, pointer = follower
    monkeypatch.setattr(following, "_EVERY", 0.01)
    counted = served.in_recorder

    async def damaged(do: Any, *arguments: Any) -> None:
        raise UserError("usage-2.json: not readable")

    async def use() -> None:
        task = asyncio.create_task(one.follow())
        for name, recorder in (("2", damaged), ("1", counted)):
            monkeypatch.setattr(served, "in_recorder", recorder)
            point(pointer, name)
            async with asyncio.timeout(10):
                while served.versions[-1:] != [name]:
                    await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(use())
    assert served.counted == "1"
    assert "usage-2.json: not readable" in caplog.text


def test_a_pointer_that_is_gone_or_half_written_changes_nothing(follower: tuple[Follower, Served, Path]) -> None:
    one, served, pointer = follower
    pointer.write_text('{"bundle"')
    assert looks(one) == [False]
    pointer.unlink()
    assert looks(one) == [False]
    assert not served.versions


def test_a_full_disk_does_not_end_the_following(
    follower: tuple[Follower, Served, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, served, pointer = follower

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(following, "write_json", full)
        point(pointer, "2")
        assert looks(one) == [True]
    assert "version 2 is served, and the host's own files do not say so" in caplog.text
    point(pointer, "3")
    assert looks(one) == [True]
    assert served.versions == ["2", "3"]
    assert read_json(pointer.with_name("host.json"), "")["version"] == "3"
