"""Radiology volumes: one grid whatever the file, and a modality like any other from the folder to the answer."""

import base64
import json
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from finetune.predictor import TaskModel
from foundation.data.cohort import Cohort
from foundation.data.declaration import read_declaration
from foundation.data.pack import pack
from foundation.data.validation import validate
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.radiology_volumes.encoder import RadiologyVolumes
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.run_record import RunRecord
from pretrain.fit import build_module, fit_round
from serve.bundle import write_bundle
from serve.client import to_request
from serve.predictor import Predictor
from tests import warm
from tests.foundation.modalities.volumes import GRID, NAME, declaration, placed
from tests.foundation.scan_files import body, write_nifti, write_series

PATIENTS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two hospitals: one with NIfTI files and a DICOM series in the usual place, one with a table; some lack a scan."""
    root = tmp_path_factory.mktemp("volumes") / "sites"
    rng = np.random.default_rng(0)
    for hospital in ("north", "south"):
        place = root / hospital
        (place / NAME).mkdir(parents=True)
        ids = [f"{hospital[0].upper()}{number:02}" for number in range(PATIENTS)]
        table = pd.DataFrame({"biomarker": np.arange(PATIENTS) % 2}, pd.Index(ids, name="patient_id"))
        table.to_csv(place / "patients.csv")
        pd.DataFrame({"age": rng.integers(40, 80, PATIENTS)}, table.index).to_csv(place / "record.csv")
        for number, patient in enumerate(ids[:-1]):
            noise = rng.normal(0, 60, body().shape)
            volume = (body() + noise + 80 * (number % 2)).astype(np.int16) // 2 * 2
            if hospital == "north" and number == 0:
                write_series(place / NAME / patient, volume)
            else:
                write_nifti(place / NAME / f"{patient}.nii.gz", volume)
    rows = [(f"S{number:02}", f"{NAME}/S{number:02}.nii.gz") for number in range(PATIENTS - 1)]
    rows.append(("S00", f"{NAME}/S01.nii.gz"))  # a second scan of the first patient
    pd.DataFrame(rows[:-2] + rows[-1:], columns=["patient_id", "file"]).to_csv(root / f"south/{NAME}.csv", index=False)
    (root / "cohort.yaml").write_text(yaml.safe_dump(declaration()))
    return root


@pytest.fixture(scope="module")
def cohort(folder) -> Cohort:
    found = pack(folder, folder.parent / "packed")
    assert found["found"]["north"] == {
        "patients": 8, "pathology": 0, "radiology": 0, NAME: 7, "genomics": 0, "report": 0, "record": 8,
    }  # fmt: skip
    facts = {key: found[key] for key in ("name", "digest", "synthetic")} | {"hospitals": list(found["found"])}
    with RunRecord.open(folder.parent / "packed", "python -m foundation.data prepare", {}, 0, (), facts):
        pass
    return Cohort(folder.parent / "packed")


def test_volumes_are_packed_on_the_declared_grid(cohort, folder):
    assert cohort.modalities == ["pathology", "radiology", NAME, "genomics", "report", "record"]
    assert cohort.sample("N00")[NAME].shape == (1, 16, 12, 8, 2)
    np.testing.assert_array_equal(cohort.sample("N03")[NAME][0], placed(folder / f"north/{NAME}/N03.nii.gz", "nifti"))
    assert len(cohort.sample("S00")[NAME]) == 2
    assert NAME not in cohort.sample("N07")


def test_a_cohort_without_volumes_is_as_it_was(small_cohort):
    demo = Cohort(small_cohort)
    assert NAME not in demo.modalities and not demo.patients[NAME].any()
    table = pd.read_parquet(small_cohort / "riverside" / "patients.parquet")
    assert not any(NAME in column for column in table.columns)


def test_validation_counts_volumes_and_finds_one_scan_of_two_patients(folder):
    found = validate(folder, read_declaration(folder), progress=False)
    assert found.counts["south"][NAME] == 6
    errors = [str(problem) for problem in found.problems.errors]
    assert any("S01.nii.gz: field file: patient S01: the same file as patient S00's" in line for line in errors)
    carried = [str(problem) for problem in found.problems.warnings if "carry tags" in problem.finding]
    assert len(carried) == 1 and "1 of kind dicom" in carried[0]


def build(width: int = 32, **options: object) -> RadiologyVolumes:
    torch.manual_seed(0)
    return RadiologyVolumes(width, Grid.model_validate(GRID).model_dump(mode="json"), channels=8, **options)


def test_nothing_of_a_scan_depends_on_the_rest_of_the_batch_even_in_training(cohort):
    module = build(drop_rate=0.0).train()
    rows = [module.transform(cohort.sample(patient)[NAME], None) for patient in ("N01", "N02", "N03")]
    together = module(module.collate(rows)).values
    torch.testing.assert_close(together[:1], module(module.collate(rows[:1])).values)


def test_padding_changes_no_token_and_a_scan_alone_is_as_in_a_batch(cohort):
    module = build().eval()
    rows = [module.transform(cohort.sample(patient)[NAME], None) for patient in ("S00", "N01")]
    together = module(module.collate(rows))
    assert together.mask.tolist() == [[True, True], [True, False]]
    alone = module(module.collate(rows[1:]))
    torch.testing.assert_close(together.values[1, :1], alone.values[0])
    torch.testing.assert_close(module.embed(together)[1], module.embed(alone)[0])


def test_contrast_is_drawn_in_training_alone(cohort):
    module, raw = build(contrast_jitter=0.3), cohort.sample("N01")[NAME]
    plain, drawn = module.transform(raw, None), module.transform(raw, torch.Generator().manual_seed(1))
    assert "contrast" not in plain and drawn["contrast"].shape == (1, 2)
    values = [module(module.collate([inputs])).values for inputs in (plain, drawn)]
    assert not torch.equal(*values)


def test_another_grid_a_wrong_depth_and_width_are_refused(cohort):
    with pytest.raises(UserError, match=r"scans of \(8, 8, 8, 1\) voxels, the encoder's grid has \(16, 12, 8, 2\)"):
        build().transform(np.zeros((1, 8, 8, 8, 1), np.uint8), None)
    with pytest.raises(UserError, match=r"modality\.radiology_volumes\.depth: found 12; choose from 10, 18, 34, 50"):
        build(depth=12)
    other = cohort.dictionary.model_copy(update={"settings": {}})
    with pytest.raises(UserError, match="its radiology volumes are on a grid of"):
        build().check_cohort(other, "ours")
    build().check_cohort(cohort.dictionary, "ours")


def test_the_portable_folder_gives_the_same_tokens(cohort, tmp_path):
    encoder = MultimodalEncoder({NAME: build()}, 32, fusion_layers=1).eval()
    encoder.save_pretrained(tmp_path / "encoder")
    batch = encoder.encode_samples([cohort.sample("N01"), cohort.sample("S00")])
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder")
    assert torch.equal(
        again(again.encode_samples([cohort.sample("N01"), cohort.sample("S00")])).fused, encoder(batch).fused
    )


OVERRIDES = [
    f"+modality@modality.{NAME}={NAME}",
    f"modality.{NAME}.channels=8",
    *(f"~modality.{other}" for other in ("pathology", "radiology", "genomics", "report")),
    "~objective.masked_genes",
    "encoder=tiny",
    "data.batch_size=4",
    "data.test_hospitals=[]",
    "validate_every=0",
    "monitor_every=0",
    "progress=false",
]


def test_a_step_of_pretraining_teaches_the_volumes(cohort, tmp_path):
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", [f"data.folder={cohort.folder}", *OVERRIDES])
    before = build_module(cfg, None, 0, 1).state_dict()
    result = fit_round(cfg, cohort.hospitals, None, tmp_path, 1, 0, 1)
    assert result.samples[NAME] > 0
    first = f"encoder.modalities.{NAME}.backbone.conv1.weight"
    assert not np.array_equal(result.weights[first], before[first].numpy())


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory) -> Path:
    """As `python -m finetune` leaves an untrained task model."""
    output = tmp_path_factory.mktemp("finetuned")
    encoder = MultimodalEncoder({NAME: build()}, 32, fusion_layers=1)
    module = FinetuneModule(encoder, Classification(32, "biomarker")).eval()
    with RunRecord.open(output, "python -m finetune", {}, 0, [cohort.folder], cohort.facts()) as record:
        record.note("samples", {NAME: 5})
        save(module, OmegaConf.create({"name": "biomarker", "drop_inputs": {}}), [NAME], output)
    return output


def test_a_bundle_answers_with_volumes_as_the_eager_model(run, cohort, folder, tmp_path):
    write_bundle(run, tmp_path / "bundle", None, cohort)
    predictor = Predictor.load(tmp_path / "bundle")
    schema, null = json.loads((tmp_path / "bundle" / "request.schema.json").read_text())["properties"][NAME]["anyOf"]
    assert null == {"type": "null"} and schema["type"] == "array" and schema["items"]["contentEncoding"] == "base64"
    raw = (folder / f"north/{NAME}/N03.nii.gz").read_bytes()
    requests = [to_request(cohort.sample("N03"), predictor.schema), {NAME: [base64.b64encode(raw).decode()]}]
    expected = TaskModel.load(run).predict([{NAME: cohort.sample("N03")[NAME]}])[0]
    for found in predictor.answer([json.dumps(request) for request in requests]):
        assert found.modalities_used == [NAME]
        assert found.prediction["class"] == expected["class"]
        assert found.prediction["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


@pytest.mark.process
def test_hospitals_train_the_volumes_together(cohort, tmp_path):
    settings = [
        *("federation=serial", "rounds=1", "steps_per_round=1"),
        *(f"data.folder={cohort.folder}", f"cohort.name={cohort.name}", f"output={tmp_path}", *OVERRIDES),
    ]
    done = warm.run("pretrain.federated", settings, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    encoder = MultimodalEncoder.from_pretrained(tmp_path / "encoder")
    assert set(encoder.modalities) == {NAME, "record"}
    assert encoder.modalities[NAME].grid == Grid.model_validate(GRID)
