"""Approval of plans: which of them this hospital's owner, or a standing rule, has let in, and for which run.

Decisions stand in the site's ledger, so they cannot be changed unseen; the texts of plans that await one lie in its
state folder, each under its digest, and those that were decided in a folder below. An approval is for one run: whoever
wants a second one asks again; but of a plan that recurs it is for every run within its bounds (`site.standing`),
whichever hospitals take part. The latest decision counts, so that a refusal takes back what it follows, and who
approves twice before a run begins has approved one.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from foundation.contract import UnfitPlanError
from foundation.errors import UserError
from foundation.federation.ledger import Ledger
from foundation.federation.ledger.entry import Entry
from foundation.federation.plan import RunPlan, read_plan
from foundation.federation.planning import settings_of
from foundation.federation.policy import Declined
from foundation.federation.site.config import Site
from foundation.files import write_text

APPROVED, DECLINED, RULE = "approved by the owner", "declined by the owner", "approved by a standing rule"
_ANSWERS = ("update", "evaluation", "statistics", "embeddings")
_MOST_WAITING = 100
LABEL = "p-"  # before a digest, where people read and type it: a command line would take some for numbers


def check_approved(site: Site, ledger: Ledger, plan: RunPlan, run: str, entries: Sequence[Entry]) -> None:
    """Lets an order of an approved plan pass.

    Args:
        site: whose.
        ledger: of the site.
        plan: of the order.
        run: its name.
        entries: of the ledger.

    Raises:
        Declined: if nobody approved it, or for another run; a plan that is new here then awaits its owner.
    """
    digest = plan.approved_as
    begun = {entry.plan for entry in entries if entry.run == run and _is_answer(entry)}
    if begun - {plan.digest}:
        raise Declined("plan: this run began under another one")
    if site.policy.approval == "rules" or digest in (site.policy.config_digest or ()):
        if not any(entry.kind == "approval" and entry.plan == digest and entry.note == RULE for entry in entries):
            ledger.append("approval", plan=digest, note=RULE)
        return
    decision, allowed = _decision(entries, digest)
    if decision == DECLINED:
        raise Declined("plan: this hospital's owner declined it")
    used = 0 if plan.standing is not None else len(runs_of(entries, digest) - {run})
    if allowed <= used:
        _await_owner(site, plan)
        raise Declined(f"plan: {LABEL}{digest[:12]} awaits this hospital's approval (consilium federation plans)")


def runs_of(entries: Iterable[Entry], digest: str) -> set[str]:
    """Runs of a plan to which anything was answered but a refusal."""
    return {entry.run for entry in entries if entry.plan == digest and _is_answer(entry)}


def _is_answer(entry: Entry) -> bool:
    return entry.direction == "out" and bool(entry.plan) and entry.kind in _ANSWERS


def check_sequence(kind: str, answer: str, run: str, number: int, entries: Sequence[Entry]) -> None:
    """Holds an order to its turn: rounds in order, and one that was answered again only to the very same order.

    A server that was killed before it had written a round down orders that round again, with the same arrays.

    Args:
        kind: of the order, as the ledger calls it.
        answer: likewise of what answers it.
        run: its name.
        number: of its round.
        entries: of the site's ledger, the order's own the last of its kind.

    Raises:
        Declined: if it is out of turn.
    """
    of_run = [entry for entry in entries if entry.run == run]
    answered = [entry.round or 0 for entry in of_run if entry.kind == answer and entry.direction == "out"]
    if not answered or number > max(answered):
        return
    if number < max(answered):
        raise Declined("order: round: a later round was answered already")
    digests = {e.digest for e in of_run if e.kind == kind and e.direction == "in" and (e.round or 0) == number}
    if len(digests) > 1:
        raise Declined("order: round: this round was answered already, to an order with other arrays")


def waiting(site: Site) -> list[RunPlan]:
    """Plans that came, were not known and await a decision, the oldest first."""
    entries = Ledger.open(site.ledger, site.name).entries()
    paths = sorted(_folder(site).glob("*.json"), key=lambda path: path.stat().st_mtime)
    return [_read(site, path) for path in paths if not _decided(entries, path.stem)]


def decide(site: Site, plan: RunPlan, approve: bool) -> None:
    """Writes an owner's decision into the ledger, and puts the plan away until somebody asks for it again."""
    ledger = Ledger.open(site.ledger, site.name)
    ledger.append("approval", plan=plan.approved_as, note=APPROVED if approve else DECLINED)
    path = _folder(site) / f"{plan.approved_as}.json"
    _put_away(site).mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # it never came, or another decision put it away
        path.replace(_put_away(site) / path.name)


def chosen(site: Site, digest: str) -> RunPlan:
    """A plan that came here, by the first characters of its digest.

    Raises:
        UserError: if none or several are meant.
    """
    start = digest.removeprefix(LABEL)
    folders = (_put_away(site), _folder(site))
    paths = {path.stem: path for folder in folders for path in folder.glob("*.json") if path.stem.startswith(start)}
    if not start or len(paths) != 1:
        count = len(paths) if start else 0
        raise UserError(f"plan: {count} plans at {site.name} begin with '{digest}'; action=list names them")
    return _read(site, *paths.values())


def last_approved(site: Site, task: str) -> RunPlan | None:
    """The plan of a task that was approved last, if its text is here."""
    entries = Ledger.open(site.ledger, site.name).entries()
    digests = [entry.plan for entry in entries if entry.kind == "approval" and entry.note != DECLINED]
    for digest in reversed(digests):
        for folder in (_put_away(site), _folder(site)):
            path = folder / f"{digest}.json"
            with suppress(UnfitPlanError):  # of a release that knew other plans
                if path.is_file() and (plan := _read(site, path)).task == task:
                    return plan
    return None


def _decision(entries: Sequence[Entry], digest: str) -> tuple[str | None, int]:
    """An owner's latest decision on a plan, and how many runs of it that allows: one more than had begun by then."""
    for place, entry in reversed(list(enumerate(entries))):
        if entry.kind == "approval" and entry.plan == digest and entry.note != RULE:
            return entry.note, len(runs_of(entries[:place], digest)) + (entry.note == APPROVED)
    return None, 0


def _decided(entries: Sequence[Entry], digest: str) -> bool:
    decision, allowed = _decision(entries, digest)
    return decision == DECLINED or len(runs_of(entries, digest)) < allowed


def _await_owner(site: Site, plan: RunPlan) -> None:
    folder = _folder(site)
    path = folder / f"{plan.approved_as}.json"  # a name of this site's own making
    if path.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("*.json"))) >= _MOST_WAITING:
        raise Declined(f"plan: {_MOST_WAITING} plans wait here; their owner decides on those first")
    write_text(path, plan.text())


def _read(site: Site, path: Path) -> RunPlan:
    try:
        plan = read_plan(path.read_text(encoding="utf-8"), settings_of(site.tasks()))
    except (UnfitPlanError, OSError, UnicodeDecodeError) as error:
        raise UnfitPlanError(f"{path}: no plan of this release ({error}); remove it") from error
    if plan.approved_as != path.stem:
        raise UserError(f"{path}: was changed since it came; remove it, and let the server ask again")
    return plan


def _folder(site: Site) -> Path:
    return site.state / "plans"


def _put_away(site: Site) -> Path:
    return _folder(site) / "decided"
