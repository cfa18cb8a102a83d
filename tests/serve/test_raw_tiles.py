"""A bundle whose encoder reads features of an image encoder: raw tiles lead to the answer that features lead to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from foundation.data.cohort import Cohort
from foundation.data.image_files import read_image
from foundation.data.pack import pack
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.pathology.slides import Slide
from foundation.run_record import RunRecord
from serve.bundle import largest_difference, write_bundle
from serve.client import to_request
from serve.predictor import Predictor
from tests.foundation.feature_files import encoder, extracted, write_cohort

WIDTH = 16


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cohort` of slides and regions, their features in `out`, packed in `packed`."""
    root = tmp_path_factory.mktemp("raw")
    write_cohort(root / "cohort")
    extracted(root / "cohort", root / "out", encoder(root / "encoder", stain="macenko"))
    pack(root / "cohort", root / "packed", workers=1, features=root / "out")
    return root


@pytest.fixture(scope="module")
def predictor(places: Path) -> Predictor:
    cohort = Cohort(places / "packed")
    torch.manual_seed(0)
    needs = TileFeatures.needs(cohort.dictionary)
    tiles = TileFeatures(WIDTH, extractor=str(places / "out" / "extractor"), **needs)
    module = FinetuneModule(MultimodalEncoder({"pathology": tiles}, WIDTH, 1), Classification(WIDTH, "idh")).eval()
    run = places / "run"
    with RunRecord.open(run, "python -m finetune", {}, 0, [], cohort.facts()) as record:
        record.note("samples", {"pathology": 2})
        save(module, OmegaConf.create({"name": "idh", "drop_inputs": {}}), ["pathology"], run)
    write_bundle(run, places / "bundle", None, cohort)
    return Predictor.load(places / "bundle")


def answer(predictor: Predictor, sample: Any) -> dict[str, Any]:
    (response,) = predictor.answer([json.dumps(to_request({"pathology": sample}, predictor.schema))])
    assert not isinstance(response, UserError), response
    return response.prediction


def raw_tiles(places: Path, patient: str) -> list[np.ndarray]:
    folder = places / "cohort" / "north"
    if patient == "p2":
        return [read_image(folder / f"{name}.png") for name in "bcd"]
    from tests.foundation.data.extraction.test_extraction import read

    with Slide(folder / "a.svs") as slide:
        return [slide.read(x, y, (48, 48), 1.0) for x, y in read(places / "out")["a.svs"][1].tolist()]


@pytest.mark.parametrize("patient", ["p1", "p2"], ids=["slide", "regions"])
def test_raw_tiles_lead_to_the_answer_of_their_features(places: Path, predictor: Predictor, patient: str):
    features = Cohort(places / "packed").sample(patient)["pathology"][:]
    images = raw_tiles(places, patient)
    assert len(images) == len(features)
    one, other = answer(predictor, features), answer(predictor, images)
    assert largest_difference(one, other) < 1e-5
    assert largest_difference(one, answer(predictor, features[:1] * 2)) > 1e-4


def test_the_schema_of_a_request_says_both(predictor: Predictor):
    described = predictor.schema.describe_request()["properties"]["pathology"]["anyOf"][0]
    assert [form["items"]["type"] for form in described["oneOf"]] == ["array", "string"]


def test_the_extractor_travels_with_the_bundle(places: Path, predictor: Predictor):
    assert sorted(path.name for path in (places / "bundle").rglob("extractor/*")) == [
        "extractor.json",
        "model.safetensors",
    ]
    assert not any("extractor" in name for name in predictor.model.encoder.state_dict())


def test_another_extractor_than_the_cohorts_is_refused(places: Path, tmp_path: Path):
    encoder(places / "encoder", pooling="class").save(tmp_path / "other")
    needs = TileFeatures.needs(Cohort(places / "packed").dictionary)
    with pytest.raises(UserError, match=r"other: not the encoder that made the cohort's features \(test_vit\)"):
        TileFeatures(WIDTH, extractor=str(tmp_path / "other"), **needs)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, r"modality\.pathology\.dim: neither set nor known of the cohort"),
        ({"dim": 3, "of_cohort": {"dim": 4}}, r"dim: 3 by the config, 4 by the cohort; leave it out"),
    ],
    ids=["none", "two"],
)
def test_a_dimension_that_nobody_or_several_say_is_one_line(options: dict[str, Any], line: str):
    with pytest.raises(UserError, match=line):
        TileFeatures(WIDTH, **options)


def test_pixels_are_no_training_input(places: Path):
    tiles = TileFeatures(WIDTH, extractor=str(places / "out" / "extractor"))
    with pytest.raises(UserError, match=r"holds images; .*take features first"):
        tiles.transform(np.zeros((2, 48, 48, 3), np.uint8), torch.Generator())
