"""The registry of releases: a folder of bundles with their evidence, and a hash-chained ledger that is its memory.

| file | holds |
| --- | --- |
| `releases/<name>-<version>/` | bundle, archive, predictions and figures of its evaluation, card, run record |
| `ledger.jsonl` | what was proposed, compared, promoted, refused and rolled back, each line bound to the one before |
| `current.json` | the release in use, which a running endpoint follows |

What is in use and what stage a release has follow from the ledger alone. MLflow's registry was not taken: the installed
mlflow-skinny keeps one only in a database that needs SQLAlchemy and Alembic, whose rows anybody may change unseen.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.chained_file import ChainedEntry, ChainedFile
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.files import read_json, replacing_folder, write_json
from foundation.lineage import LEARNED_IN, names_of
from foundation.locks import in_turn
from foundation.run_record import RunRecord, read_run
from serve import manifest
from serve.card.card_file import read_card
from serve.registry_pointer import POINTER
from serve.release.comparison import PREDICTIONS, compare
from serve.release.rules import Evidence, Rules
from serve.verification import verify_archive, verify_bundle

LEDGER, RESULTS = "ledger.jsonl", "results.json"
_COMMAND = "python -m serve.release propose"
_EVALUATE = "run python -m finetune.evaluate on the run that was exported"


@dataclass(frozen=True)
class Proposal:
    """What a challenger brings along.

    Attributes:
        export: output of `python -m serve.export`.
        evaluation: output of `python -m finetune.evaluate`, of the same run.
        card: output of `python -m serve.card`, if there is one.
        trusted_key: PEM file of the key that must have signed the bundle; unsigned ones pass if None.
    """

    export: Path
    evaluation: Path
    card: Path | None = None
    trusted_key: Path | None = None


class Registry:
    """Releases of one endpoint.

    Args:
        folder: of the registry; made by the first proposal.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = ChainedFile(folder / LEDGER)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One decision at a time."""
        with in_turn(self.folder / ".lock"):
            yield

    def stages(self) -> dict[str, str]:
        """By release, in the order of proposal: proposed, refused, promoted, replaced or rolled back."""
        stages: dict[str, str] = {}
        for entry in self.ledger.entries():
            event, release = entry["event"], entry["release"]
            for name in (release, entry["from"]) if event == "rolled back" else (release,):
                if event != "proposed" and name not in stages:
                    raise entry.refuse(f"is about {name}, which no line before it proposes")
            if event == "promoted":
                stages = {name: "replaced" if stage == "promoted" else stage for name, stage in stages.items()}
            if event == "rolled back":
                stages[entry["from"]] = event
            if event == "refused" and stages[release] != "proposed":
                continue  # it was in use before, and can be gone back to
            if event != "compared":
                stages[release] = "promoted" if event == "rolled back" else event
        return stages

    def current(self) -> str | None:
        """The release in use."""
        return next((name for name, stage in self.stages().items() if stage == "promoted"), None)

    def folder_of(self, release: str) -> Path:
        """Where a release lies.

        Raises:
            UserError: if there is none of that name.
        """
        if release not in self.stages():
            known = ", ".join(self.stages()) or "none"
            raise UserError(f"release: {self.folder} has none called '{release}'; it has {known}")
        return self.folder / "releases" / release

    def propose(self, proposal: Proposal, rules: Rules, config: Mapping[str, Any], seed: int) -> str:
        """Takes a challenger in, with the rules that it will be held against; its name.

        Raises:
            UserError: if bundle, archive, signature or card are not whole, the evaluation is of another run, or tested
                patients whom training had seen.
        """
        schema, digests = verify_bundle(proposal.export / "bundle", proposal.trusted_key)
        archive = proposal.export / f"{schema.name}.mar"
        verify_archive(archive, proposal.export / "bundle", schema)
        evaluated = _evaluation_of(proposal)
        name = f"{schema.name}-{schema.version}"
        with self.locked():
            others = {other.removesuffix(f"-{entry['version']}") for other, entry in self._proposed().items()}
            if others - {schema.name}:
                finding = f"is called {schema.name}, and this registry is of {min(others)}"
                raise UserError(f"export: {finding}; give the model that name, or another registry=")
            if name in self.stages():
                raise UserError(f"{self.folder}: {name} was proposed before; a release is what it is")
            builds_on = [proposal.export, proposal.evaluation]
            with replacing_folder(self.folder / "releases" / name) as temporary:
                _copy(proposal, archive, temporary)
                with RunRecord.open(temporary, _COMMAND, dict(config), seed, builds_on, evaluated["data"]) as record:
                    record.note("release", {"name": schema.name, "version": schema.version})
                    record.note(LEARNED_IN, sorted(names_of(read_run(proposal.export))))
            facts: dict[str, Any] = {
                "version": schema.version,
                "model": digests.model,
                "seal": manifest.seal(proposal.export / "bundle"),
                "run": min(_parents(proposal.export) & _parents(proposal.evaluation)),
                "evaluation": _digests(proposal.evaluation, PREDICTIONS, RESULTS),
                "rules": rules.digest,
                "signed": proposal.trusted_key is not None,
                "card": proposal.card is not None,
            }
            self._note("proposed", name, **facts)
        return name

    def compare(self, release: str, rules: Rules, cohort: Cohort | None, before: Path | None) -> Evidence:
        """Holds a challenger against the rules beside the release in use, and keeps the evidence.

        Args:
            release: the challenger.
            rules: those under which it was proposed.
            cohort: for subgroups.
            before: an evaluation of the release in use on the challenger's patients; its own if None.

        Raises:
            UserError: if the rules are others, `before` is of another model than the one in use or none is, or the
                release is in use itself.
        """
        with self.locked():
            if self.current() == release:
                raise UserError(f"release: {release} is in use already, so there is none to compare it with")
            return self._compare(release, rules, cohort, before)

    def promote(self, release: str, rules: Rules, cohort: Cohort | None, before: Path | None) -> Evidence:
        """Puts a challenger to use where every rule holds; else it is refused. Either way the ledger has the evidence.

        Raises:
            UserError: as `compare` does, or if it is in use already.
        """
        with self.locked():
            if self.current() == release:
                raise UserError(f"release: {release} is in use already")
            evidence = self._compare(release, rules, cohort, before)
            event = "refused" if evidence.broken else "promoted"
            self._note(event, release, against=evidence.against, evidence=_sha(json.dumps(evidence.as_json()).encode()))
            if not evidence.broken:
                self.point()
        return evidence

    def rollback(self, reason: str) -> tuple[str, str]:
        """Puts the release before the one in use back; names of both.

        Raises:
            UserError: if there is none before it, or it is not as it was.
        """
        with self.locked():
            here = self.current()
            promoted = [one["release"] for one in self.ledger.entries() if one["event"] in ("promoted", "rolled back")]
            stages = self.stages()
            earlier = [name for name in promoted if name != here and stages[name] == "replaced"]
            if here is None or not earlier:
                raise UserError(f"{self.folder}: no release before {here or 'the first'}, so nothing to go back to")
            self._verify(earlier[-1])
            self._note("rolled back", earlier[-1], **{"from": here, "reason": reason})
            self.point()
        return here, earlier[-1]

    def point(self) -> None:
        """Writes which release is in use, as the ledger tells; also after a decision whose process was killed."""
        release = self.current()
        if release is None:
            (self.folder / POINTER).unlink(missing_ok=True)
            return
        seal = self._proposed()[release]["seal"]
        content = {"release": release, "bundle": f"releases/{release}/bundle", "seal": seal}
        path = self.folder / POINTER
        if not path.is_file() or read_json(path, "remove it; any command of the registry writes it anew") != content:
            write_json(path, content)

    def _compare(self, release: str, rules: Rules, cohort: Cohort | None, before: Path | None) -> Evidence:
        folder, current = self.folder_of(release), self.current()
        self._verify(release)
        declared = self._proposed()[release]["rules"]
        if rules.digest != declared:
            raise UserError(
                f"rules: others than those under which {release} was proposed; figures are declared before they are "
                "seen, so give these, or propose it under the new ones in another registry"
            )
        against = None if current in (None, release) else current
        if before is not None and against is None:
            raise UserError(f"before: given, and no release is in use that {before} could be of; leave it out")
        other = None if against is None else (before or self.folder_of(against))
        if before is not None and against is not None and self._proposed()[against]["run"] not in _parents(before):
            finding = f"{before} is of another run than {against}, the release in use"
            raise UserError(f"before: {finding}; evaluate that one on these patients")
        evidence = compare(release, folder, against, other, rules, cohort)
        content = evidence.as_json()
        write_json(folder / "evidence" / f"{int(time.time() * 1000)}.json", content)
        digest = _sha(json.dumps(content).encode())
        figures = None if other is None else _digests(other, PREDICTIONS, RESULTS)
        self._note("compared", release, against=against, before=figures, evidence=digest, broken=len(evidence.broken))
        return evidence

    def _verify(self, release: str) -> None:
        """Refuses a release whose bundle or figures are not those that were proposed."""
        folder, entry = self.folder_of(release), self._proposed()[release]
        manifest.verify(folder / "bundle")
        if manifest.seal(folder / "bundle") != entry["seal"]:
            raise UserError(f"{folder / 'bundle'}: not the bundle that was proposed; restore it")
        if _digests(folder, PREDICTIONS, RESULTS) != entry["evaluation"]:
            raise UserError(f"{folder}: its figures are not those that were proposed; restore them")

    def _proposed(self) -> dict[str, ChainedEntry]:
        return {entry["release"]: entry for entry in self.ledger.entries() if entry["event"] == "proposed"}

    def _note(self, event: str, release: str, **facts: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.ledger.add({"event": event, "release": release, "time": now, **facts})


def _evaluation_of(proposal: Proposal) -> dict[str, Any]:
    """The record of an evaluation that is of the exported run, on patients whom it had not seen."""
    evaluated = read_run(proposal.evaluation)
    if not _parents(proposal.export) & _parents(proposal.evaluation):
        raise UserError(f"evaluation: {proposal.evaluation} is of another run than {proposal.export}; {_EVALUATE}")
    if evaluated.get("status") != "finished":
        raise UserError(f"evaluation: {proposal.evaluation} did not finish; {_EVALUATE}")
    if evaluated.get("config", {}).get("allow_seen"):
        raise UserError(f"evaluation: {proposal.evaluation} tested patients seen in training; {_EVALUATE}")
    for name in (PREDICTIONS, RESULTS):
        if not (proposal.evaluation / name).is_file():
            raise UserError(f"{proposal.evaluation / name}: missing; {_EVALUATE}")
    if proposal.card is not None:
        read_card(proposal.card, "give the output folder of python -m serve.card")
    return evaluated


def _parents(folder: Path) -> set[str]:
    """Digests of the runs that a step was taken from."""
    return {str(one["digest"]) for one in read_run(folder)["builds_on"]}


def _copy(proposal: Proposal, archive: Path, to: Path) -> None:
    """Copies, not links: what an export's folder holds later is no matter of a release."""
    shutil.copytree(proposal.export / "bundle", to / "bundle")
    for path in (archive, proposal.evaluation / PREDICTIONS, proposal.evaluation / RESULTS):
        shutil.copyfile(path, to / path.name)
    if proposal.card is not None:
        shutil.copytree(proposal.card, to / "card")


def _digests(folder: Path, *names: str) -> dict[str, str]:
    return {name: _sha((folder / name).read_bytes()) for name in names}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
