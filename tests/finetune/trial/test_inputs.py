"""What a model was shown, by its run: outcomes that are inputs are refused, those that inputs may hold doubted."""

import pytest

from finetune.trial.adjustment import Adjustment
from finetune.trial.enrichment import Enrichment
from finetune.trial.inputs import ModelInputs
from finetune.trial.patients import read_scored
from foundation.errors import UserError
from foundation.files import write_json
from foundation.run_record import RunRecord

CONTINUOUS = {"endpoint": "continuous", "outcome": "age", "simulations": 20, "resamples": 20, "effect": -5.0}
REFUSED = r"tool.outcome: the model of .*evaluation-survival reads 'age' as an input"


@pytest.mark.parametrize(
    ("task", "reads"),
    [
        ({"modalities": ["record", "report"]}, True),
        ({"modalities": ["record"], "drop_inputs": {"record": ["sex"]}}, True),
        ({"modalities": ["record"], "drop_inputs": {"record": ["age", "sex"]}}, False),
        ({"modalities": ["genomics"]}, False),
    ],
)
def test_an_outcome_is_refused_where_the_model_reads_it(evaluated, task, reads):
    scored = read_scored(evaluated(task=task), ["test"])
    if reads:
        with pytest.raises(UserError, match=REFUSED):
            Adjustment(**CONTINUOUS).run(scored, 0)
    else:
        assert "adjustment/continuous/saving" in Adjustment(**CONTINUOUS).run(scored, 0).figures


def test_an_outcome_of_the_record_is_refused_where_nothing_says_what_the_model_reads(evaluated):
    assert ModelInputs.of_run(evaluated()) == ModelInputs(None, {})
    with pytest.raises(UserError, match=REFUSED):
        Adjustment(**CONTINUOUS).run(read_scored(evaluated(), ["test"]), 0)
    scored = read_scored(evaluated(), ["test"])
    scored.table["age"] = scored.table["age"].astype(float) > 60
    with pytest.raises(UserError, match=REFUSED):
        Enrichment(endpoint="binary", outcome="age", resamples=20).run(scored, 0)


@pytest.mark.parametrize(("asked", "modalities"), [(None, ("record", "genomics")), (["report"], ("report",))])
def test_a_cross_validated_model_reads_what_its_task_or_encoder_names(cohort, tmp_path, asked, modalities):
    pretrained, folds = tmp_path / "pretrained", tmp_path / "folds"
    with RunRecord.open(pretrained, "python -m pretrain", {}, 0, [cohort.folder]):
        write_json(pretrained / "encoder" / "config.json", {"modalities": {"record": {}, "genomics": {}}}, False)
    config = {"task": {"modalities": asked, "drop_inputs": {"record": ["age"]}}}
    with RunRecord.open(folds, "python -m finetune.crossvalidate", config, 0, [pretrained]):
        pass
    assert ModelInputs.of_run(folds) == ModelInputs(modalities, {"record": ["age"]})


def test_a_label_as_outcome_is_doubted_on_the_page_and_survival_is_not(evaluated):
    scored = read_scored(evaluated(task={"modalities": ["genomics", "report"]}), ["test"])
    doubt = "'biomarker' is a label of the cohort, and the model reads genomics, report."
    binary = {"endpoint": "binary", "outcome": "biomarker", "resamples": 20}
    assert sum(doubt in line for line in Enrichment(**binary).run(scored, 0).lead) == 1
    assert sum(doubt in line for line in Adjustment(**binary, simulations=20).run(scored, 0).lead) == 1
    assert not any("label" in line for line in Adjustment(simulations=20, resamples=20).run(scored, 0).lead)
