"""Reconciliation of the server's ledger with the sites': each says of the other what that one says of itself.

A message that one side sent and the other never received is `lost`: a site that died or a line that broke looks like
that, and so does a decline of a site that could not write its ledger. Any other that was received and never sent, or
not as it was received, is a `contradiction`: so is every ledger that was cut, rewritten or begun anew with its head
file, because the other side remembers its messages and, where the two name them to each other, the hashes of its
entries. Messages of which only one side's ledger was given are `unchecked`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.federation.ledger.chain import Finding, Problem
from foundation.federation.ledger.entry import Entry
from foundation.federation.ledger.files import load

_Key = tuple[str, int | None, str]


@dataclass(frozen=True)
class Side:
    """A ledger that takes part in a reconciliation.

    Attributes:
        path: of it.
        owner: whose it is.
        server: whether the server's.
        entries: that can be read.
    """

    path: Path
    owner: str
    server: bool
    entries: list[Entry]

    @classmethod
    def read(cls, path: Path) -> "Side":
        """Reads a ledger, be it damaged.

        Raises:
            UserError: if it does not say whose it is.
        """
        entries = load(path).entries
        if not entries or entries[0].role is None:
            raise UserError(f"{path}: does not say whose ledger it is; its first entry is missing or no ledger's")
        return cls(path, entries[0].owner, entries[0].role == "server", entries)


@dataclass(frozen=True)
class _Noted:
    """An entry, and where it stands."""

    path: Path
    entry: Entry


@dataclass
class _Ledgers:
    """All ledgers of one owner: a server keeps one a run, a site may have set a damaged one aside."""

    owner: str
    server: bool
    messages: list[_Noted]
    hashes: set[str]

    @classmethod
    def of(cls, sides: Sequence[Side]) -> "_Ledgers":
        messages = [_Noted(side.path, entry) for side in sides for entry in side.entries if entry.direction]
        hashes = {entry.hash for side in sides for entry in side.entries}
        return cls(sides[0].owner, sides[0].server, messages, hashes)

    def runs(self) -> set[str]:
        return {noted.entry.run for noted in self.messages}

    def with_(self, peer: "_Ledgers", direction: str) -> dict[_Key, list[_Noted]]:
        """Messages exchanged with another in one direction, in runs of which the server's ledger was given."""
        runs = self.runs() if self.server else peer.runs()
        messages: dict[_Key, list[_Noted]] = defaultdict(list)
        for noted in self.messages:
            entry = noted.entry
            if entry.direction == direction and entry.peer == peer.owner and entry.run in runs:
                messages[entry.run, entry.round, entry.kind].append(noted)
        return messages


def reconcile(sides: Sequence[Side]) -> list[Problem]:
    """All that ledgers say differently of one another, in whatever order; `verify` each of them, too.

    Raises:
        UserError: if they are not a server's, of one run or of several, and its sites'.
    """
    if len({side.path.resolve() for side in sides}) < len(sides):
        raise UserError("ledgers: one file is given twice; give each once")
    by_owner: dict[tuple[bool, str], list[Side]] = defaultdict(list)
    for side in sides:
        by_owner[side.server, side.owner].append(side)
    ledgers = [_Ledgers.of(of_owner) for of_owner in by_owner.values()]
    servers, sites = [each for each in ledgers if each.server], [each for each in ledgers if not each.server]
    if not servers or not sites:
        raise UserError(f"ledgers: {len(servers)} of servers and {len(sites)} of sites; give one of each at least")
    problems = [
        problem
        for server in servers
        for site in sites
        for one, other in ((site, server), (server, site))
        for problem in (*_one_way(one, other), *_witnesses(one, other))
    ]
    return problems + [problem for each in ledgers for problem in _unchecked(each, sites if each.server else servers)]


def _one_way(sender: _Ledgers, receiver: _Ledgers) -> Iterator[Problem]:
    """What the sender says went out against what the receiver says came in."""
    sent, received = sender.with_(receiver, "out"), receiver.with_(sender, "in")
    for key in sorted(sent.keys() | received.keys(), key=str):
        went, came = _unmatched(sent.get(key, []), received.get(key, []))
        for noted, other in zip(came, went, strict=False):
            differs = _contradiction(noted.entry, other.entry)
            text = f"{_called(noted.entry)} of {sender.owner} came in with {differs} in its own ledger"
            yield Problem("contradiction", str(noted.path), text, noted.entry.index)
        for noted in came[len(went) :]:
            text = f"{_called(noted.entry)} came in, which the ledger of {sender.owner} does not say went out"
            # Nothing of patients is in a decline; a full disk or a damaged ledger must not look like forgery.
            kind: Finding = "lost" if noted.entry.kind == "decline" else "contradiction"
            yield Problem(kind, str(noted.path), text, noted.entry.index)
        for noted in went[len(came) :]:
            text = f"{_called(noted.entry)} went out, and never reached {receiver.owner}"
            yield Problem("lost", str(noted.path), text, noted.entry.index)


def _unmatched(sent: list[_Noted], received: list[_Noted]) -> tuple[list[_Noted], list[_Noted]]:
    """Those of each side that have no counterpart on the other."""
    went, came = list(sent), []
    for noted in received:
        match = next((at for at, other in enumerate(went) if not _contradiction(noted.entry, other.entry)), None)
        if match is None:
            came.append(noted)
        else:
            del went[match]
    return went, came


def _witnesses(holder: _Ledgers, other: _Ledgers) -> Iterator[Problem]:
    """Hashes that one side once named of its own ledger must still be there."""
    for noted in (noted for messages in holder.with_(other, "in").values() for noted in messages):
        if noted.entry.witness and noted.entry.witness not in other.hashes:
            text = f"holds an entry {_short(noted.entry.witness)} of {other.owner} that its ledger no longer has"
            yield Problem("contradiction", str(noted.path), text, noted.entry.index)


def _unchecked(ledgers: _Ledgers, others: Sequence[_Ledgers]) -> list[Problem]:
    """How many messages no other ledger was given for."""
    known = {other.owner: other for other in others}
    counts: Counter[tuple[Path, str, str]] = Counter()
    for noted in ledgers.messages:
        peer = known.get(noted.entry.peer)
        if peer is None:
            counts[noted.path, noted.entry.peer, ""] += 1
        elif peer.server and noted.entry.run not in peer.runs():
            counts[noted.path, noted.entry.peer, noted.entry.run] += 1
    return [
        Problem(
            "unchecked", str(path), f"{count} messages with {peer}{run and f' of run {_short(run)}'}: no ledger given"
        )
        for (path, peer, run), count in counts.items()
    ]


def _contradiction(received: Entry, sent: Entry) -> str:
    """How two entries of one message differ; empty if they do not."""
    compared: list[tuple[str, Any, Any]] = [("masked", received.masked, sent.masked)]
    if not (received.masked and sent.masked):
        compared += [("size", received.size, sent.size), ("digest", received.digest, sent.digest)]
    for name in ("message", "groups", "samples", "metrics"):  # not every ledger says these of every message
        one, other = getattr(received, name), getattr(sent, name)
        if one and other:
            compared.append((name, *((sorted(one), sorted(other)) if name == "groups" else (one, other))))
    for name, one, other in compared:
        if one != other:
            return f"{name} {_short(one)} against {_short(other)}"
    return ""


def _called(entry: Entry) -> str:
    place = "" if entry.round is None else f", round {entry.round}"
    return f"{entry.kind} (run {_short(entry.run)}{place})"


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text or "none"
