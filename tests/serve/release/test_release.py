"""Releases that are earned: rules on drawn predictions, the registry's memory, and the way back."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from foundation.errors import UserError
from foundation.files import write_json
from foundation.run_record import RunRecord
from serve import manifest
from serve.registry_pointer import POINTER
from serve.release import registry as registry_module
from serve.release.comparison import compare
from serve.release.registry import Proposal, Registry
from serve.release.rules import Check, Rules

HOSPITALS = {"north": 120, "south": 80, "tiny": 6}
ABSTAINED = {"metric": "abstained", "model": "model", "subset": "all", "group": "all", "level": "all", "n": 1}
ABSTAINED |= {"value": 0.1, "low": None, "high": None, "reason": None}
DATA = {"name": "own", "digest": "0", "synthetic": True, "hospitals": list(HOSPITALS)}


def figures(folder: Path, skill: dict[str, float], shift: float = 0.0, abstained: float = 0.1, part: float = 1) -> Path:
    """An evaluation of drawn patients, the same at every call: chances of a label, the better the larger `skill`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for hospital, count in HOSPITALS.items():
        rng = np.random.default_rng([*hospital.encode()])
        label = rng.permutation(np.resize([0, 1], count))
        noise = rng.normal(size=count)
        logit = skill.get(hospital, skill["all"]) * (2 * label - 1) + noise
        chance = np.clip(1 / (1 + np.exp(-logit)) + shift, 0, 1)
        for number in range(int(count * part)):
            row = {"patient": f"{hospital}{number}", "hospital": hospital, "split": "test", "subset": "all"}
            figures = {"label": float(label[number]), "prediction": float(chance[number] > 0.5)}
            rows.append({**row, "output": "positive", **figures, "probability": chance[number]})
    pd.DataFrame(rows).to_parquet(folder / "predictions.parquet")
    share = {"value": abstained, "low": abstained - 0.03, "high": abstained + 0.03}
    figure = {**ABSTAINED, **share, "n": len(rows)}
    write_json(folder / "results.json", {"figures": [figure]})
    return folder


def broken(checks: "tuple[Check, ...]") -> set[tuple[str, str]]:
    return {(check.rule.split(",")[0], check.level) for check in checks if check.verdict == "broken"}


def test_an_equal_challenger_holds_every_rule_and_small_hospitals_are_undefined(tmp_path: Path) -> None:
    both = [figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b")]
    evidence = compare("b", both[1], "a", both[0], Rules(), None)
    assert not evidence.broken
    undefined = [check for check in evidence.checks if check.verdict == "undefined"]
    assert {check.level for check in undefined} == {"tiny"}
    assert all(check.value is None and check.why == "6 patients, of 10 that it takes" for check in undefined)


def test_a_challenger_worse_at_one_hospital_alone_is_broken_there(tmp_path: Path) -> None:
    before = figures(tmp_path / "a", {"all": 1.0})
    after = figures(tmp_path / "b", {"all": 1.6, "south": 0.2})
    evidence = compare("b", after, "a", before, Rules(auroc=1, brier=1), None)
    assert ("no worse", "south") in broken(evidence.checks)
    assert ("no worse", "north") not in broken(evidence.checks)


def test_a_challenger_that_is_not_shown_to_be_no_worse_is_broken_overall(tmp_path: Path) -> None:
    before = figures(tmp_path / "a", {"all": 1.0})
    after = figures(tmp_path / "b", {"all": 0.9})
    assert ("no worse", "all") in broken(compare("b", after, "a", before, Rules(auroc=0.001), None).checks)
    assert broken(compare("b", after, "a", before, Rules(auroc=0.1, brier=0.1), None).checks) <= {
        ("no worse", "north"),
        ("no worse", "south"),
    }


def test_a_challenger_that_is_off_in_the_large_is_broken(tmp_path: Path) -> None:
    evidence = compare("b", figures(tmp_path / "b", {"all": 1.0}, shift=0.3), None, None, Rules(), None)
    assert {level for rule, level in broken(evidence.checks) if rule == "calibrated"} == {"all", "north", "south"}


def test_a_challenger_that_abstains_more_is_broken(tmp_path: Path) -> None:
    before, after = (
        figures(tmp_path / name, {"all": 1.0}, abstained=share) for name, share in (("a", 0.1), ("b", 0.3))
    )
    assert broken(compare("b", after, "a", before, Rules(), None).checks) == {("abstains no more", "all")}
    assert not broken(compare("a", before, "b", after, Rules(), None).checks)


def test_patients_whom_the_release_in_use_never_answered_stop_it(tmp_path: Path) -> None:
    before, after = figures(tmp_path / "a", {"all": 1.0}, part=0.5), figures(tmp_path / "b", {"all": 1.0})
    rule = "share of held-out patients whom both answered"
    assert (rule, "all") in broken(compare("b", after, "a", before, Rules(), None).checks)
    assert (rule, "all") not in broken(compare("b", after, "a", before, Rules(paired=0.4), None).checks)


@pytest.mark.parametrize(("column", "value"), [("hospital", "south"), ("hospital", "north"), ("output", "positive")])
def test_a_challenger_that_leaves_a_hospital_or_an_output_out_is_broken(
    column: str, value: str, tmp_path: Path
) -> None:
    before, after = (figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b"))
    path = after / "predictions.parquet"
    table = pd.read_parquet(path)
    more = table.assign(output="severe")
    pd.concat([table[table[column] != value], more]).to_parquet(path)
    pd.concat([table, more]).to_parquet(before / "predictions.parquet")
    checks = compare("b", after, "a", before, Rules(paired=0.3), None).checks
    rule = "share whom the release in use answered"
    lost = {(check.rule.split(", ")[1], check.level) for check in checks if check.verdict == "broken"}
    assert ("positive", value if column == "hospital" else "all") in lost
    assert (rule, "tiny") not in broken(checks)


def test_a_cohort_without_the_held_out_patients_says_nothing_of_subgroups(tmp_path: Path) -> None:
    folder = figures(tmp_path / "a", {"all": 1.0})
    other = SimpleNamespace(name="other", patients=pd.DataFrame(index=["north0", "north1"]))
    with pytest.raises(UserError, match="cohort: other holds 2 of 206 held-out patients of a; give the prepared"):
        compare("a", folder, None, None, Rules(subgroups=["sex"]), other)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["auroc", "brier", "error", "calibration", "abstention"])
def test_a_margin_that_everything_holds_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Rules(**{name: float("inf")})


@pytest.mark.parametrize(
    "figures_of", [3, [3], [{"metric": "abstained"}], [{**ABSTAINED, "value": "many"}], [{**ABSTAINED, "n": None}]]
)
def test_figures_of_another_form_are_refused(figures_of: Any, tmp_path: Path) -> None:
    before, after = (figures(tmp_path / name, {"all": 1.0}) for name in ("a", "b"))
    write_json(before / "results.json", {"figures": figures_of})
    with pytest.raises(UserError, match=r"a/results\.json: 'figures' are not those of an evaluation; run python"):
        compare("b", after, "a", before, Rules(), None)


def test_predictions_without_hospitals_are_refused(tmp_path: Path) -> None:
    path = figures(tmp_path / "a", {"all": 1.0}) / "predictions.parquet"
    pd.read_parquet(path).drop(columns="hospital").to_parquet(path)
    with pytest.raises(UserError, match=r"predictions\.parquet: says no hospital of the patients; run python"):
        compare("a", path.parent, None, None, Rules(), None)


def test_subgroups_ask_for_the_cohort(tmp_path: Path) -> None:
    folder = figures(tmp_path / "a", {"all": 1.0})
    with pytest.raises(UserError, match="cohort: not given; rules name subgroups"):
        compare("a", folder, None, None, Rules(subgroups=["sex"]), None)


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


def test_an_evaluation_on_patients_seen_in_training_is_refused(registry: Registry, tmp_path: Path) -> None:
    proposal = challenger(tmp_path, "1")
    record = json.loads((proposal.evaluation / "run.json").read_text())
    write_json(proposal.evaluation / "run.json", {**record, "config": {"allow_seen": True}})
    with pytest.raises(UserError, match="tested patients seen in training"):
        registry.propose(proposal, Rules(), {}, 0)
