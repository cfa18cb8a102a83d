"""Preloaded by the node of a hospital in a test: training orders go wrong in the rounds that a plan names.

The plan is `plan.json` in the hospital's folder: by round, a fault of `FAULTS`. What a fault touches is real (the
arrays that leave, the kernel's limit on the size of files, the bytes of ledger, policy and data), and the project's own
code answers to it. An order that is held waits for a file, so that a test can act in the middle of a round.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from flwr.app import Context, Message, RecordDict

from foundation.federation.planning import installed_tasks, settings_of
from foundation.federation.site import app as client_app
from foundation.federation.site.config import Site
from foundation.federation.site.filters.base import Outgoing
from foundation.federation.site.filters.policy import PolicyCheck
from foundation.federation.site.gate import PolicyGate
from foundation.federation.wire.messages import unpack_order

_PATIENCE = 600.0
_answer, _check, _train_here = client_app._answer, PolicyCheck.apply, client_app.train_here
_ARRAY = "encoder.fusion.patient"  # that every hospital trains


def _answer_or_fail(answer: Any, work: Any, message: Message, context: Context) -> RecordDict:
    home = Path(str(context.node_config["site"])).parent
    plan = home / "plan.json"
    number = str(unpack_order(message.content, settings_of(installed_tasks())).round)
    fault = json.loads(plan.read_text()).get(number) if work == "train" and plan.is_file() else None
    if fault is None:
        return _answer(answer, work, message, context)
    if fault in LATE:
        return LATE[fault](_answer(answer, work, message, context))
    with FAULTS[fault](home, Site.load(home / "site.yaml")):
        return _answer(answer, work, message, context)


client_app._answer = _answer_or_fail


def sends(change: Callable[[np.ndarray], np.ndarray], *, everything: bool = False) -> Callable[..., Any]:
    """Arrays of the update are changed as if training had made them so: before the ledger notes what leaves."""

    def check(self: PolicyCheck, outgoing: Outgoing, gate: PolicyGate) -> Outgoing:
        reply = outgoing.reply
        wanted = reply.update if everything else [_ARRAY]
        reply.update = {**reply.update, **{name: change(np.asarray(reply.update[name])) for name in wanted}}
        return _check(self, outgoing, gate)

    @contextmanager
    def fault(home: Path, site: Site) -> Iterator[None]:
        PolicyCheck.apply = cast(Any, check)
        yield

    return fault


def cut(content: RecordDict) -> RecordDict:
    """The bytes of the arrays end early."""
    array = next(iter(content.array_records["arrays"].values()))
    array.data = array.data[: len(array.data) // 2]
    return content


def garbled(content: RecordDict) -> RecordDict:
    """The header of the arrays is no header."""
    array = next(iter(content.array_records["arrays"].values()))
    array.data = array.data[:8] + b"\x00" * 16 + array.data[24:]
    return content


def empty(content: RecordDict) -> RecordDict:
    """An answer without any of its parts."""
    return RecordDict()


@contextmanager
def full_disk(home: Path, site: Site, room: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond the ledger's size and a little room."""
    limit = site.ledger.stat().st_size + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    yield


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Another content while the order is worked on."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


@contextmanager
def data_gone(home: Path, site: Site) -> Iterator[None]:
    """The folder of the cohort has another name meanwhile."""
    assert site.data is not None
    away = site.data.with_name("unmounted")
    site.data.rename(away)
    try:
        yield
    finally:
        away.rename(site.data)


def data_damaged(home: Path, site: Site) -> AbstractContextManager[None]:
    """A table of the cohort is cut."""
    assert site.data is not None
    table = site.data / site.name / "patients.parquet"
    return replaced(table, table.read_bytes()[:-200])


@contextmanager
def state_damaged(home: Path, site: Site) -> Iterator[None]:
    """The optimiser's state of the round before is cut."""
    (kept,) = sorted(site.state.glob("*/step_*/optimizer/*.safetensors"))[-1:]
    with replaced(kept, kept.read_bytes()[:-100]):
        yield


def ledger_changed(home: Path, site: Site) -> AbstractContextManager[None]:
    """A number in the ledger is another one; a copy of what was found is left for the test."""
    content = site.ledger.read_bytes().replace(b'"size":', b'"size":1', 1)
    for name in (site.ledger.name, f"{site.ledger.name}.head"):
        (home / f"changed.{name}").write_bytes(content if name == site.ledger.name else (home / name).read_bytes())
    return replaced(site.ledger, content)


@contextmanager
def training_fails(home: Path, site: Site) -> Iterator[None]:
    """An error that nobody foresaw."""

    def fails(*arguments: Any) -> Any:
        raise MemoryError(f"no memory for the patients of {site.name}")

    client_app.train_here = fails
    yield


@contextmanager
def held(home: Path, site: Site) -> Iterator[None]:
    """The order waits for a word."""
    (home / "held").touch()
    end = time.monotonic() + _PATIENCE
    while not (home / "go").is_file() and time.monotonic() < end:
        time.sleep(0.1)
    (home / "go").unlink(missing_ok=True)
    yield


FAULTS: dict[str, Callable[[Path, Site], AbstractContextManager[None]]] = {
    "NaN": sends(lambda value: np.full_like(value, np.nan)),
    "wrong shape": sends(lambda value: np.concatenate([value, value])),
    "exploding": sends(  # upwards: a variance below zero would be refused as such
        lambda value: np.abs(value) * value.dtype.type(1e6) if value.dtype.kind == "f" else value, everything=True
    ),
    "disk full for the ledger": lambda home, site: full_disk(home, site, 10),
    "disk full for the state": lambda home, site: full_disk(home, site, 4000),
    "policy forbids": lambda home, site: replaced(home / "policy.yaml", b"tasks: [evaluate]\n"),
    "policy damaged": lambda home, site: replaced(home / "policy.yaml", b"tasks: [pretrain\n"),
    "data gone": data_gone,
    "data damaged": data_damaged,
    "state damaged": state_damaged,
    "ledger changed": ledger_changed,
    "training fails": training_fails,
    "held": held,
}
LATE: dict[str, Callable[[RecordDict], RecordDict]] = {
    "arrays cut": cut,
    "arrays garbled": garbled,
    "empty answer": empty,
}
