"""Classes told by words: cosines by hand, templates together, and encoders whose text is aligned with nothing."""

import subprocess
import sys
from pathlib import Path

import hydra
import pytest
import torch
from torch.nn import functional

from finetune.aligned import aligned, check_aligned
from finetune.fit import fit, unread
from finetune.heads.zero_shot import ZeroShot
from finetune.predictor import TaskModel
from foundation.errors import UserError
from foundation.run_record import RunRecord

PROMPTS = [["cellularity is low", "little atypia"], ["cellularity is high"]]
TEMPLATES = ["{}", "Report. {}."]
ALIGNED = {"alignment": {"_target_": "foundation.objectives.siglip.SigLip"}}
SAMPLES = {"report": 20, "genomics": 20, "fusion": 20}


def head(width: int = 32, **settings) -> ZeroShot:
    declared = {"target": "biomarker", "prompts": PROMPTS, "templates": TEMPLATES, "scale": 5.0}
    return ZeroShot(width, **declared | settings).eval()


@pytest.fixture(scope="module")
def model(build) -> TaskModel:
    made = build(head())
    made.head.describe(made.encoder)
    made.encoder.eval()
    return made


def embedded(model: TaskModel, sample: dict, name: str) -> torch.Tensor:
    with torch.no_grad():
        return model.encoder(model.encoder.encode_samples([sample])).embeddings[name][0]


def test_a_class_is_the_mean_of_all_its_sentences(model):
    for place, prompts in enumerate(PROMPTS):
        sentences = [text for prompt in prompts for text in (prompt, f"Report. {prompt}.")]
        mean = torch.stack([embedded(model, {"report": text}, "report") for text in sentences]).mean(dim=0)
        torch.testing.assert_close(model.head.texts[place], functional.normalize(mean, dim=0))


def test_scores_are_cosines_with_the_mean_of_what_a_patient_has(model, cohort):
    model.task["modalities"] = ["genomics", "record"]
    patient = next(name for name in cohort.patients.index if {"genomics", "record"} <= set(cohort.sample(name)))
    sample = cohort.sample(patient)
    parts = [embedded(model, {name: sample[name]}, name) for name in ("genomics", "record")]
    for shown, mean in ((sample, sum(parts)), ({"record": sample["record"]}, parts[1])):
        cosines = 5 * functional.normalize(mean, dim=0) @ model.head.texts.T
        torch.testing.assert_close(model.scores([shown])[0], cosines, rtol=1e-4, atol=1e-5)
        batch = model.encoder.encode_samples([model.usable(shown)])
        torch.testing.assert_close(model.read(batch).scores[0], cosines, rtol=1e-4, atol=1e-5)


def test_a_patient_does_not_hang_on_who_is_beside(model, cohort):
    model.task["modalities"] = ["genomics", "record"]
    has = cohort.patients[["genomics", "record"]].astype(bool).any(axis=1)
    samples = [cohort.sample(name) for name in cohort.patients.index[has][:6]]
    together = model.scores(samples)
    torch.testing.assert_close(together[3:4], model.scores([samples[3]]), rtol=1e-4, atol=1e-5)
    batch = model.encoder.encode_samples([model.usable(sample) for sample in samples])
    lengths = aligned(model.encoder(batch), batch, model.task["modalities"]).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6))


def test_beside_it_stands_a_plain_classifier_of_features():
    plain = head(blocks={"record": 3})
    assert plain.reads_features and not plain.reads_aligned
    assert plain(torch.zeros(2, 3)).shape == (2, 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"prompts": [["one"]]}, "1 lists of prompts for 2 classes"),
        ({"prompts": [["one"], []]}, "give each class a list of one or more"),
        ({"prompts": ["low", "high"]}, "give a list of texts for each class"),  # not a prompt a letter
        ({"prompts": [["low"], [" "]]}, "give a list of texts for each class"),
        ({"templates": "{}"}, "give a list of sentences"),
        ({"templates": ["no place"]}, "found 'no place'"),
        ({"templates": []}, "task.head.templates"),
        ({"scale": 0.0}, "task.head.scale"),
        ({"scale": float("inf")}, "task.head.scale"),
    ],
)
def test_prompts_that_cannot_be_are_refused(settings, expected):
    with pytest.raises(UserError, match=expected):
        head(**settings)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("private={epsilon: 8}", "private: a zero-shot head sees no label"), ("best_by=auc", "best_by: found 'auc'")],
)
def test_settings_of_training_are_refused_beside_a_head_that_learns_nothing(model, setting, expected):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("finetune", ["task=zero_shot", "pretrained=nowhere", setting])
    with pytest.raises(UserError, match=expected):
        fit(cfg, model.encoder, head(), ["one", "two"], ["three", "four"])


def test_what_is_not_fitted_for_want_of_labels_is_told(model):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("finetune", ["task=zero_shot", "pretrained=nowhere"])
        neither = hydra.compose("finetune", ["pretrained=nowhere", "calibration=null", "reliability=null"])
    (line,) = unread(cfg, head())
    assert line.startswith("calibration and reliability: not fitted, for a zero-shot head sees no label")
    assert unread(neither, head()) == unread(cfg, head(blocks={"record": 3})) == []


def run(folder: Path, cohort, config: dict, samples: dict) -> Path:
    with RunRecord.open(folder, "python -m pretrain", config, 0, [], cohort.facts()) as record:
        record.note("samples", samples)
    return folder


def test_an_encoder_whose_text_is_aligned_is_taken(cohort, tmp_path):
    check_aligned([run(tmp_path / "run", cohort, {"objective": ALIGNED}, SAMPLES)], ["genomics"])


@pytest.mark.parametrize(
    ("config", "samples", "expected"),
    [
        ({"objective": {"genes": {"_target_": "foundation.objectives.masked_genes.MaskedGenes"}}}, SAMPLES, "no run"),
        ({"objective": ALIGNED, "untrained": True}, SAMPLES, "the run left the encoder untrained"),
        ({"objective": ALIGNED}, {"genomics": 9}, "no patient of the pretraining run had report"),
        ({"objective": ALIGNED}, {"report": 9, "genomics": 0}, "no patient of the pretraining run had genomics"),
    ],
)
def test_an_encoder_whose_text_is_aligned_with_nothing_is_refused(config, samples, expected, cohort, tmp_path):
    with pytest.raises(UserError, match=f"^pretrained: {expected}"):
        check_aligned([run(tmp_path / "run", cohort, config, samples)], ["genomics"])


def test_an_encoder_without_a_run_or_without_text_is_refused(build):
    with pytest.raises(UserError, match=r"^pretrained: no run record tells"):
        check_aligned([], ["genomics"])
    encoder = build().encoder
    del encoder.modalities["report"]
    with pytest.raises(UserError, match=r"^pretrained: the encoder reads no text"):
        head().describe(encoder)


@pytest.mark.process
def test_the_command_makes_a_task_model_that_answers(model, cohort, small_cohort: Path, tmp_path: Path):
    pretrained = run(tmp_path / "pretrained", cohort, {"objective": ALIGNED}, SAMPLES)
    model.encoder.save_pretrained(pretrained / "encoder")
    settings = [f"pretrained={pretrained}", f"data.folder={small_cohort}", f"output={tmp_path / 'zero'}"]
    command = [sys.executable, "-m", "finetune", "task=zero_shot", "task.modalities=[genomics]", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    made = TaskModel.load(tmp_path / "zero")
    assert made.head.texts.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    patient = next(name for name in cohort.patients.index if "genomics" in cohort.sample(name))
    assert made.predict([cohort.sample(patient)])[0]["modalities_used"] == ["genomics"]
