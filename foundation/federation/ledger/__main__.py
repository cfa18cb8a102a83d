"""`python -m foundation.federation.ledger verify|reconcile|show`: the check of ledgers, alone and together."""

import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from foundation.command import choose, command, plain
from foundation.errors import UserError
from foundation.federation.ledger.chain import Problem, as_json
from foundation.federation.ledger.files import verify as verify_ledger
from foundation.federation.ledger.receipts import check_receipts
from foundation.federation.ledger.reconcile import Side
from foundation.federation.ledger.reconcile import reconcile as reconcile_ledgers
from foundation.federation.ledger.report import entries_table, summary, summary_table
from foundation.files import write_json
from foundation.run_record import RunRecord

_HELP = """usage: python -m foundation.federation.ledger ACTION ledgers=[FILE,...]

  verify      finds every entry that was altered, removed, put in or moved; where a server's ledger is among several,
              also holds it against those of its sites
  reconcile   the same, and asks for a server's and at least one site's; a server's of several runs may be given
  show        lists the entries; run=... those of one run

With receipts=run/receipts.json server=federation/server sites' ledgers are also held against the heads that each signed
and the server countersigned: whether one was made up anew, or ends earlier.

Code 2 and a line a problem where anything is wrong. Messages that were lost on the way are listed, and are a problem
with --strict alone: a site that died looks like that."""
_WIDTH = 160


@command("ledger")
def verify(cfg: DictConfig) -> None:
    """Each ledger by itself, and the server's against the sites' where there is one."""
    _examine(cfg, "verify", always_reconcile=False)


@command("ledger")
def reconcile(cfg: DictConfig) -> None:
    """Each ledger by itself, and the server's against the sites'."""
    _examine(cfg, "reconcile", always_reconcile=True)


@command("ledger")
def show(cfg: DictConfig) -> None:
    """The entries."""
    for path in _ledgers(cfg):
        _console().print(entries_table(Side.read(path), cfg.run))


def _examine(cfg: DictConfig, action: str, always_reconcile: bool) -> None:
    paths = _ledgers(cfg)
    by_path = {path: verify_ledger(path) for path in paths}
    problems = [problem for each in by_path.values() for problem in each]
    sides = [side for path in paths if (side := _side(path, by_path[path])) is not None]
    whole = len(sides) == len(paths)  # without its first entry a ledger is nobody's: mend that first
    if whole and (always_reconcile or (len(sides) > 1 and any(side.server for side in sides))):
        problems += reconcile_ledgers(sides)
    if cfg.receipts is not None:
        if cfg.server is None:
            raise UserError("server: found null; receipts are verified by keys in the folder of the SuperLink")
        problems += check_receipts(sides, Path(cfg.receipts), Path(cfg.server))
    for side in sides:
        _console().print(summary_table(side))
    if cfg.output is not None:
        _write(cfg, action, sides, problems)
    stopping = [problem for problem in problems if problem.grave or (cfg.strict and problem.kind == "lost")]
    for problem in problems:
        if problem not in stopping:
            print(f"{problem.kind}: {problem}")
    if stopping:
        for problem in stopping:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(paths)} ledgers: nothing was altered" if len(paths) > 1 else f"{paths[0]}: nothing was altered")


def _ledgers(cfg: DictConfig) -> list[Path]:
    value = plain(cfg)["ledgers"]
    paths = [Path(path) for path in ([value] if isinstance(value, str) else value or [])]
    if not paths:
        raise UserError("ledgers: none given; say ledgers=[site/ledger.jsonl,server/ledger.jsonl]")
    return paths


def _side(path: Path, problems: list[Problem]) -> Side | None:
    """The ledger, or None where it is too damaged to say whose it is, and its problems say why."""
    try:
        return Side.read(path)
    except UserError:
        if problems:
            return None
        raise


def _write(cfg: DictConfig, action: str, sides: list[Side], problems: list[Problem]) -> None:
    output = Path(cfg.output)
    with RunRecord.open(output, f"python -m foundation.federation.ledger {action}", plain(cfg), cfg.seed) as record:
        ledgers = {
            str(side.path): {"owner": side.owner, "entries": len(side.entries), "runs": summary(side)} for side in sides
        }
        write_json(
            output / "ledgers.json", {"ledgers": ledgers, "problems": [as_json(problem) for problem in problems]}
        )
        record.metrics["problems"] = sum(problem.grave for problem in problems)
        record.metrics["lost"] = sum(problem.kind == "lost" for problem in problems)


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def main() -> None:
    """Verifies, reconciles or shows."""
    choose("python -m foundation.federation.ledger", {"verify": verify, "reconcile": reconcile, "show": show}, _HELP)


if __name__ == "__main__":
    main()
