"""The server's ledger against the sites': does each say of the other what that one says of itself?

A message that one side sent and the other never received is `lost`: a site that died or a line that broke looks like
that. One that was received and never sent, or not as it was received, is a `contradiction`: so is every ledger that
was cut, rewritten or begun anew with its head file, because the other side remembers its messages and, where the two
name them to each other, the hashes of its entries.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from pretrain.federated.ledger.chain import Problem
from pretrain.federated.ledger.entry import Entry
from pretrain.federated.ledger.files import load

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

    def with_(self, peer: str) -> list[Entry]:
        """Messages exchanged with another."""
        return [entry for entry in self.entries if entry.direction and entry.peer == peer]

    def peers(self) -> dict[str, int]:
        """With whom messages were exchanged, and how many."""
        found: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            if entry.direction:
                found[entry.peer] += 1
        return found


def reconcile(server_ledger: Path, site_ledgers: Sequence[Path]) -> list[Problem]:
    """All that the ledgers say differently of one another; `verify` each of them, too.

    Raises:
        UserError: if one cannot be read, or they are not a server's and its sites'.
    """
    server, sites = Side.read(server_ledger), [Side.read(path) for path in site_ledgers]
    return reconcile_sides([server, *sites])


def reconcile_sides(sides: Sequence[Side]) -> list[Problem]:
    """As `reconcile`, in whatever order."""
    servers, sites = [side for side in sides if side.server], [side for side in sides if not side.server]
    if len(servers) != 1 or not sites:
        raise UserError(f"ledgers: {len(servers)} of a server and {len(sites)} of sites; give one and at least one")
    owners = [site.owner for site in sites]
    for site in sites:
        if owners.count(site.owner) > 1:
            raise UserError(f"{site.path}: a second ledger of site {site.owner}; give each site's once")
    (server,) = servers
    problems: list[Problem] = []
    for site in sites:
        problems += _one_way(site, server)
        problems += _one_way(server, site)
        problems += _witnesses(server, site)
        problems += _witnesses(site, server)
    known = {side.owner for side in sides}
    return problems + [
        Problem("unchecked", str(side.path), f"{count} messages with {peer}, whose ledger was not given")
        for side in sides
        for peer, count in side.peers().items()
        if peer not in known
    ]


def _one_way(sender: Side, receiver: Side) -> Iterator[Problem]:
    """What the sender says went out against what the receiver says came in."""
    sent, received = _by_key(sender.with_(receiver.owner), "out"), _by_key(receiver.with_(sender.owner), "in")
    for key in sorted(sent.keys() | received.keys(), key=str):
        went, came = _unmatched(sent.get(key, []), received.get(key, []))
        for entry, other in zip(came, went, strict=False):
            said = f"{_called(entry)} of {sender.owner} came in with {_contradiction(entry, other)}"
            yield Problem("contradiction", str(receiver.path), f"{said} in its own ledger", entry.index)
        for entry in came[len(went) :]:
            found = f"{_called(entry)} came in, which the ledger of {sender.owner} does not say went out"
            yield Problem("contradiction", str(receiver.path), found, entry.index)
        for entry in went[len(came) :]:
            found = f"{_called(entry)} went out, and never reached {receiver.owner}"
            yield Problem("lost", str(sender.path), found, entry.index)


def _by_key(entries: Iterable[Entry], direction: str) -> dict[_Key, list[Entry]]:
    found: dict[_Key, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.direction == direction:
            found[entry.run, entry.round, entry.kind].append(entry)
    return found


def _unmatched(sent: list[Entry], received: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Those of each side that have no counterpart on the other."""
    went, came = list(sent), []
    for entry in received:
        other = next((other for other in went if not _contradiction(entry, other)), None)
        if other is None:
            came.append(entry)
        else:
            went.remove(other)
    return went, came


def _contradiction(received: Entry, sent: Entry) -> str:
    """How two entries of one message differ; empty if they do not."""
    compared: list[tuple[str, Any, Any]] = [("masked", received.masked, sent.masked)]
    if not (received.masked and sent.masked):
        compared += [("size", received.size, sent.size), ("digest", received.digest, sent.digest)]
    for name in ("message", "groups", "samples"):  # not every ledger says these of every message
        one, other = getattr(received, name), getattr(sent, name)
        if one and other:
            compared.append((name, *((sorted(one), sorted(other)) if name == "groups" else (one, other))))
    for name, one, other in compared:
        if one != other:
            return f"{name} {_short(one)} against {_short(other)}"
    return ""


def _witnesses(holder: Side, other: Side) -> Iterator[Problem]:
    """Hashes that one side once named of its own ledger must still be there."""
    hashes = {entry.hash for entry in other.entries}
    for entry in holder.with_(other.owner):
        if entry.direction == "in" and entry.witness and entry.witness not in hashes:
            found = f"holds an entry {_short(entry.witness)} of {other.owner} that its ledger no longer has"
            yield Problem("contradiction", str(holder.path), found, entry.index)


def _called(entry: Entry) -> str:
    place = "" if entry.round is None else f", round {entry.round}"
    return f"{entry.kind} (run {_short(entry.run)}{place})"


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text or "none"
