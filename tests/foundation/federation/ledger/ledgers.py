"""Ledgers that tests write and read."""

from pathlib import Path

from foundation.federation.ledger import Ledger
from foundation.federation.ledger.files import load
from foundation.federation.ledger.reconcile import Side, reconcile
from foundation.federation.ledger.spent import spent_by_run

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


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


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
