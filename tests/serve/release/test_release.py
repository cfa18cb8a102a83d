"""Releases that are earned: the registry's memory, and the way back."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.files import write_json
from foundation.run_record import RunRecord
from serve import manifest
from serve.registry_pointer import POINTER
from serve.release import registry as registry_module
from serve.release.comparison import compare
from serve.release.registry import Proposal, Registry
from serve.release.rules import Rules
from tests.serve.release.evaluations import HOSPITALS, figures

DATA = {"name": "own", "digest": "0", "synthetic": True, "hospitals": list(HOSPITALS)}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty one, in which a bundle is a folder with a manifest."""

    def verified(bundle: Path, trusted_key: Path | None = None) -> tuple[Any, Any]:
        manifest.verify(bundle)
        version = (bundle / "weights").read_text()
        return SimpleNamespace(name="own", version=version), SimpleNamespace(model=f"digest of {version}")

    monkeypatch.setattr(registry_module, "verify_bundle", verified)
    monkeypatch.setattr(registry_module, "verify_archive", lambda *_: None)
    return Registry(tmp_path / "registry")


def challenger(root: Path, version: str, skill: float = 1.0, shift: float = 0.0) -> Proposal:
    """A run, its export and its evaluation."""
    run, export, evaluation = (root / version / name for name in ("run", "export", "evaluation"))
    with RunRecord.open(run, "python -m finetune", {"version": version}, 0, [], DATA):
        pass
    with RunRecord.open(export, "python -m serve.export", {}, 0, [run], DATA):
        (export / "bundle").mkdir()
        (export / "bundle/weights").write_text(version)
        manifest.write(export / "bundle")
        (export / "own.mar").write_text("archive")
    with RunRecord.open(evaluation, "python -m finetune.evaluate", {"allow_seen": False}, 0, [run], DATA):
        figures(evaluation, {"all": skill}, shift)
    return Proposal(export, evaluation)


def in_use(registry: Registry) -> str:
    return str(json.loads((registry.folder / POINTER).read_text())["release"])


def promoted(registry: Registry, proposal: Proposal) -> str:
    name = registry.propose(proposal, Rules(), {}, 0)
    assert not registry.promote(name, Rules(), None, None).broken
    return name


def test_the_registry_remembers_what_was_promoted_refused_and_rolled_back(registry: Registry, tmp_path: Path) -> None:
    first = promoted(registry, challenger(tmp_path, "1"))
    assert in_use(registry) == first == "own-1"
    poisoned = registry.propose(challenger(tmp_path, "2", skill=-1.0), Rules(), {}, 0)
    assert registry.promote(poisoned, Rules(), None, None).broken
    assert in_use(registry) == first
    third = promoted(registry, challenger(tmp_path, "3", skill=1.5))
    assert in_use(registry) == third
    assert registry.stages() == {first: "replaced", poisoned: "refused", third: "promoted"}
    assert registry.rollback("alarm") == (third, first)
    assert in_use(registry) == first
    assert registry.stages() == {first: "promoted", poisoned: "refused", third: "rolled back"}
    with pytest.raises(UserError, match="no release before own-1, so nothing to go back to"):
        registry.rollback("again")
    events = [entry["event"] for entry in registry.ledger.entries()]
    decisions = ["promoted", "refused", "promoted"]
    assert events == [*(event for one in decisions for event in ("proposed", "compared", one)), "rolled back"]


def test_a_release_that_is_refused_anew_can_still_be_gone_back_to(registry: Registry, tmp_path: Path) -> None:
    first = promoted(registry, challenger(tmp_path, "1", skill=0.5))
    second = promoted(registry, challenger(tmp_path, "2", skill=1.5))
    assert registry.promote(first, Rules(), None, None).broken
    assert registry.stages() == {first: "replaced", second: "promoted"}
    assert registry.rollback("alarm") == (second, first)


def test_the_evidence_is_the_one_in_the_ledger(registry: Registry, tmp_path: Path) -> None:
    name = promoted(registry, challenger(tmp_path, "1"))
    (path,) = (registry.folder_of(name) / "evidence").glob("*.json")
    content = json.dumps(json.loads(path.read_text()))
    digests = {entry["evidence"] for entry in registry.ledger.entries() if entry["event"] != "proposed"}
    evidence = compare(name, registry.folder_of(name), None, None, Rules(), None)
    assert digests == {registry_module._sha(json.dumps(evidence.as_json()).encode())}
    assert json.loads(content)["promotable"] is True


def test_rules_that_were_not_declared_before_are_refused(registry: Registry, tmp_path: Path) -> None:
    name = registry.propose(challenger(tmp_path, "1"), Rules(), {}, 0)
    with pytest.raises(UserError, match="rules: others than those under which own-1 was proposed"):
        registry.promote(name, Rules(calibration=0.5), None, None)


@pytest.mark.parametrize(("file", "words"), [("bundle/weights", "weights: changed since"), ("results.json", "figures")])
def test_a_release_that_was_changed_is_neither_promoted_nor_gone_back_to(
    file: str, words: str, registry: Registry, tmp_path: Path
) -> None:
    first = promoted(registry, challenger(tmp_path, "1"))
    second = promoted(registry, challenger(tmp_path, "2"))
    (registry.folder_of(first) / file).write_text("another")
    with pytest.raises(UserError, match=words):
        registry.rollback("alarm")
    assert in_use(registry) == second


def test_a_ledger_that_was_altered_stops_everything(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, challenger(tmp_path, "1"))
    path = registry.ledger.path
    path.write_text(path.read_text().replace('"promoted"', '"refused"'))
    with pytest.raises(UserError, match=r"ledger\.jsonl: line 3 was altered"):
        registry.stages()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(UserError, match="lines were cut from its end"):
        registry.stages()


@pytest.mark.parametrize(
    ("line", "field"), [(3, "rules"), (3, "evaluation"), (3, "seal"), (0, "run"), (1, "event"), (2, "release")]
)
def test_a_field_that_a_line_lacks_is_named(line: int, field: str, registry: Registry, tmp_path: Path) -> None:
    promoted(registry, challenger(tmp_path, "1"))
    second = challenger(tmp_path, "2")
    name = registry.propose(second, Rules(), {}, 0)
    changed(registry, line, {field: None})
    with pytest.raises(UserError, match=rf"ledger\.jsonl: line {line + 1} holds no '{field}'; install the release"):
        registry.promote(name, Rules(), None, second.evaluation if field == "run" else None)


def test_a_decision_about_a_release_that_nobody_proposed_is_named(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, challenger(tmp_path, "1"))
    changed(registry, 2, {"release": "own-9"})
    with pytest.raises(UserError, match=r"line 3 is about own-9, which no line before it proposes; install"):
        registry.stages()


def changed(registry: Registry, line: int, change: dict[str, str | None]) -> None:
    """The registry's ledger anew, with other fields, or without those that are None, in one line."""
    entries = [dict(entry) for entry in registry.ledger.entries()]
    entries[line] |= change
    for path in registry.folder.glob("ledger.jsonl*"):
        path.unlink()
    for entry in entries:
        gone = {"index", "previous", "hash", *(key for key, value in entry.items() if value is None and key in change)}
        registry.ledger.add({key: value for key, value in entry.items() if key not in gone})


def test_a_decision_whose_process_was_killed_is_pointed_to_later(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promoted(registry, challenger(tmp_path, "1"))
    second = registry.propose(challenger(tmp_path, "2"), Rules(), {}, 0)
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "point", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.promote(second, Rules(), None, None)
    assert in_use(registry) == first
    assert registry.current() == second
    registry.point()
    assert in_use(registry) == second


def test_an_evaluation_of_another_run_is_refused(registry: Registry, tmp_path: Path) -> None:
    one, two = challenger(tmp_path, "1"), challenger(tmp_path, "2")
    with pytest.raises(UserError, match="evaluation: .* is of another run than"):
        registry.propose(Proposal(one.export, two.evaluation), Rules(), {}, 0)
    first = promoted(registry, one)
    name = registry.propose(two, Rules(), {}, 0)
    with pytest.raises(UserError, match=f"before: .* is of another run than {first}, the release in use"):
        registry.compare(name, Rules(), None, two.evaluation)
    with pytest.raises(UserError, match="own-1 was proposed before"):
        registry.propose(one, Rules(), {}, 0)


def test_an_evaluation_of_the_release_in_use_is_refused_where_there_is_none(registry: Registry, tmp_path: Path) -> None:
    proposal = challenger(tmp_path, "1")
    name = registry.propose(proposal, Rules(), {}, 0)
    for ask in (registry.compare, registry.promote):
        with pytest.raises(
            UserError, match="before: given, and no release is in use that .* could be of; leave it out"
        ):
            ask(name, Rules(), None, proposal.evaluation)
    assert registry.stages() == {name: "proposed"}


def test_an_evaluation_on_patients_seen_in_training_is_refused(registry: Registry, tmp_path: Path) -> None:
    proposal = challenger(tmp_path, "1")
    record = json.loads((proposal.evaluation / "run.json").read_text())
    write_json(proposal.evaluation / "run.json", {**record, "config": {"allow_seen": True}})
    with pytest.raises(UserError, match="tested patients seen in training"):
        registry.propose(proposal, Rules(), {}, 0)
