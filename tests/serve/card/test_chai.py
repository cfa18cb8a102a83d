"""The CHAI card has the published structure, holds intervals in its values, and leaves open what nobody said."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from serve.card.build import Inputs, build
from serve.card.chai import problems
from tests.serve.card.chains import chain

SPACE = "{https://mc.chai.org/v0.2/schema.xsd}"
_METRIC = ("MetricGoal", "Results", "Interpretation", "TestType", "TestingDataDescription")
_METRIC = (*_METRIC, "ValidationProcessAndJustification")
# The published schema, v0.2: by path of a complex element its children in order; those that may be left out end in "?".
STRUCTURE = {
    "": (
        *("BasicInfo", "ReleaseInfo", "ModelSummary", "UsesAndDirections", "Warnings", "TrustIngredients"),
        *("KeyMetrics", "Resources", "Bibliography"),
    ),
    "BasicInfo": ("ModelName", "ModelDeveloper", "DeveloperContact"),
    "ReleaseInfo": (
        *("ReleaseStage", "ReleaseDate", "ReleaseVersion", "GlobalAvailability", "EHRCompatibility?"),
        "RegulatoryApproval?",
    ),
    "ModelSummary": ("Summary", "Keywords"),
    "UsesAndDirections": (
        *("IntendedUseAndWorkflow", "PrimaryIntendedUsers", "HowToUse", "TargetedPatientPopulation"),
        "CautionedOutOfScopeSettings",
    ),
    "Warnings": ("KnownRisksAndLimitations", "KnownBiasesOrEthicalConsiderations", "ClinicalRiskLevel"),
    "TrustIngredients": ("AISystemFacts", "TransparencyInformation"),
    "TrustIngredients/AISystemFacts": (
        *("OutcomesAndOutputs", "ModelType", "FoundationModels?", "InputDataSource", "OutputAndInputDataTypes"),
        *("DevelopmentDataCharacterization", "BiasMitigationApproaches", "OngoingMaintenance", "Security?"),
        "Transparency?",
    ),
    "TrustIngredients/TransparencyInformation": ("FundingSource", "ThirdPartyInformation?", "StakeholdersConsulted"),
    "KeyMetrics": ("UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability"),
    **{
        f"KeyMetrics/{name}": _METRIC for name in ("UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability")
    },
    "Resources": (
        *("EvaluationReferences?", "ClinicalTrial?", "PeerReviewedPublications", "ReimbursementStatus?"),
        "PatientConsentOrDisclosure",
    ),
}


def inside(root: ElementTree.Element, path: str) -> ElementTree.Element:
    element = root.find("/".join(SPACE + part for part in path.split("/"))) if path else root
    assert element is not None
    return element


def xml_of(evaluation: Path, **inputs: Path) -> str:
    return build(Inputs((evaluation,), "demo", "mit", **inputs), evaluation.parent / "card").documents["chai.xml"]


@pytest.fixture(scope="module")
def root(plain_chain: Path) -> ElementTree.Element:
    return ElementTree.fromstring(xml_of(plain_chain / "evaluation"))


def test_elements_are_those_of_the_published_schema_in_its_order(root: ElementTree.Element):
    assert root.tag == f"{SPACE}AppliedModelCard"
    for path, children in STRUCTURE.items():
        names = [child.tag.removeprefix(SPACE) for child in inside(root, path)]
        known = [name.rstrip("?") for name in children]
        assert names == [name for name in known if name in names]
        assert {name for name in children if name[-1] != "?"} <= set(names)
    for result in root.iter(f"{SPACE}MetricResult"):
        assert [child.tag.removeprefix(SPACE) for child in result] == ["Label", "ValueJson"]


def test_values_hold_their_intervals(root: ElementTree.Element):
    results = {
        part.findtext(f"{SPACE}Label"): part.findtext(f"{SPACE}ValueJson") for part in root.iter(f"{SPACE}MetricResult")
    }
    assert json.loads(results["biomarker: AUC"] or "") == {
        "kind": "estimate_ci",
        "estimate": 0.8642,
        "lower": 0.7931,
        "upper": 0.9287,
        "level": 95.0,
        "unit": "",
        "n": 57,
        "interval": "95 % percentile, patient bootstrap",
        "estimator": "rank, ties half",
        "split": "test",
    }
    assert json.loads(results["biomarker: calibration error (ECE)"] or "")["kind"] == "single"
    assert "biomarker: AUC, by group sex F" in results
    assert not any("has" in str(name).split() for name in results)  # what patients have is no fairness


def test_what_nobody_said_is_open_and_what_people_said_stands_there(plain_chain: Path, tmp_path: Path):
    (tmp_path / "card.yaml").write_text("developer: Us & <them>\nfunding: {not_applicable: nobody paid}\n")
    root = ElementTree.fromstring(xml_of(plain_chain / "evaluation", judgement=tmp_path / "card.yaml"))
    assert inside(root, "BasicInfo/ModelDeveloper").text == "Us & <them>"
    assert inside(root, "BasicInfo/DeveloperContact").text == "OPEN: nobody has said (contact)."
    funding = inside(root, "TrustIngredients/TransparencyInformation/FundingSource")
    assert funding.text == "Not applicable: nobody paid"
    # Counts are those of the whole, not of subgroups that have an `n` of their own.
    tested = inside(root, "KeyMetrics/UsefulnessUsabilityEfficacy/TestingDataDescription")
    assert tested.text == "Cohort: demo.\nPatients: 57.\nEvents: 21."


def test_where_no_figure_is_known_a_result_says_so(tmp_path: Path):
    evaluation = chain(tmp_path)
    content = json.loads((evaluation / "evaluation.json").read_text()) | {"by_group": {}, "by_hospital": {}, "gaps": {}}
    (evaluation / "evaluation.json").write_text(json.dumps(content))
    text = xml_of(evaluation)
    assert list(problems(text)) == []
    results = list(inside(ElementTree.fromstring(text), "KeyMetrics/FairnessEquity/Results"))
    assert [result.findtext(f"{SPACE}Label") for result in results] == ["OPEN: no record tells it"]


def test_characters_that_xml_cannot_hold_do_not_spoil_it(tmp_path: Path):
    evaluation = chain(tmp_path)
    card = build(Inputs((evaluation,), "a\x00b\ud800 <c>", "mit"), tmp_path / "card")
    root = ElementTree.fromstring(card.documents["chai.xml"])
    assert inside(root, "BasicInfo/ModelName").text == "a\ufffdb\ufffd <c>"
