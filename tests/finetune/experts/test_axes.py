"""Axes towards a response, for a block of far more features than patients; and which experts are taught."""

import numpy as np
import pytest

from finetune.experts import fit
from finetune.experts.blocks import Axes
from finetune.experts.fit import fit_committee, fit_expert
from finetune.experts.responses import Floats, Hazard, Label, Value

PATIENTS, GENES = 150, 600
HOSPITALS = np.array([f"h{place % 5}" for place in range(PATIENTS)])


@pytest.fixture(scope="module")
def expression() -> Floats:
    """Eight genes follow what matters; the others follow eighty things that do not."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(PATIENTS, 80)) @ rng.normal(size=(80, GENES))
    values[:, :8] = truth()[:, None] + rng.normal(size=(PATIENTS, 8))
    return values


def truth() -> Floats:
    return np.random.default_rng(1).normal(size=PATIENTS)


def responses() -> dict[str, Hazard | Label | Value]:
    rng = np.random.default_rng(2)
    time = np.ceil(900 * np.exp(-truth()) * rng.exponential(size=PATIENTS))
    return {
        "hazard": Hazard(np.ones(PATIENTS), time),
        "label": Label((truth() + 0.3 * rng.normal(size=PATIENTS) > 0).astype(float)),
        "value": Value(truth() + 3.0 + 0.3 * rng.normal(size=PATIENTS)),
    }


@pytest.mark.parametrize("kind", ["hazard", "label", "value"])
def test_few_genes_among_many_are_found_at_hospitals_left_out(expression: Floats, kind: str):
    response = responses()[kind]
    towards, plain = (fit_expert(expression, response, HOSPITALS, supervised) for supervised in (True, False))
    assert towards is not None and plain is not None
    assert response.log_likelihood(towards.scores) > response.log_likelihood(plain.scores) + 5
    assert np.corrcoef(towards.scores, truth())[0, 1] > np.corrcoef(plain.scores, truth())[0, 1] + 0.1


def test_a_hospital_left_out_has_no_part_in_its_axes(expression: Floats):
    """Other outcomes at a hospital change nothing about its scores, though axes follow outcomes."""
    label = responses()["label"]
    assert isinstance(label, Label)
    there = HOSPITALS == "h2"
    other = Label(np.where(there, 1 - label.values, label.values))
    scores = []
    for response in (label, other):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fit, "_POWERS", (2.0,))
            patch.setattr(fit, "cross_fit", lambda *given: CROSS_FIT(*given, [30.0]))
            expert = fit_expert(expression, response, HOSPITALS)
        assert expert is not None
        scores.append(expert.scores)
    np.testing.assert_array_equal(scores[0][there], scores[1][there])
    assert np.abs(scores[0] - scores[1])[~there].max() > 1e-3


CROSS_FIT = fit.cross_fit


def test_the_strength_of_a_gene_is_its_score_statistic(expression: Floats):
    """Of a label, its correlation times the root of the number of patients, in units of all genes'."""
    label = responses()["label"]
    assert isinstance(label, Label)
    axes = Axes.of(expression)
    towards = axes.towards(expression, label, 1.0, GENES)
    weight = np.linalg.norm(towards.rotation, axis=1) > 0
    assert weight.all()
    direct = Axes(axes.mean, axes.scale, np.eye(GENES), axes.reach).project(expression)
    statistic = np.abs([np.corrcoef(column, label.values)[0, 1] * column.std() for column in direct.T])
    scaled = direct * statistic / direct.std(axis=0)
    ours, theirs = (table @ table.T for table in (towards.project(expression), scaled))
    np.testing.assert_allclose(ours / np.trace(ours), theirs / np.trace(theirs), atol=1e-9)


def test_a_block_of_few_features_keeps_its_main_axes(expression: Floats):
    few, response = expression[:, :250], responses()["label"]
    ours, plain = (fit_expert(few, response, HOSPITALS, supervised) for supervised in (True, False))
    assert ours is not None and plain is not None
    np.testing.assert_array_equal(ours.scores, plain.scores)


def test_a_block_that_tells_nothing_of_the_fused_score_is_not_taught(expression: Floats):
    """So that whoever has it alone gets the answer of a model of it alone."""
    rng = np.random.default_rng(4)
    blocks = {
        "genes": expression,
        "chance": rng.normal(size=(PATIENTS, 400)),
        "known": truth()[:, None] + rng.normal(size=(PATIENTS, 3)),
    }
    response = responses()["label"]
    committee = fit_committee(blocks, response, HOSPITALS)
    taught = {}
    for name, values in blocks.items():
        own, expert = fit_expert(values, response, HOSPITALS), committee.experts[name]
        assert own is not None and expert is not None
        taught[name] = not np.array_equal(expert.beta, own.beta)
    assert taught == {"genes": True, "chance": False, "known": True}
    by_itself = fit_committee({"genes": expression}, response, HOSPITALS).experts["genes"]
    plain = fit_expert(expression, response, HOSPITALS)
    assert by_itself is not None and plain is not None
    np.testing.assert_array_equal(by_itself.beta, plain.beta)
