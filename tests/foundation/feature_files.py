"""A hospital's slide and regions, and their features, that tests write."""

from pathlib import Path

import foundation  # noqa: F401  # isort: skip
import timm
from PIL import Image
from safetensors.torch import save_file

from foundation.data.declaration import read_declaration
from foundation.data.extraction.run import Plan, extract_features
from foundation.data.problems import Problems
from foundation.data.reading import read_sites
from foundation.modalities.extractor import FeatureExtractor
from foundation.run_record import RunRecord
from tests.foundation.slide_files import tissue, write_tiff

SIZE = 32
DECLARATION = """
name: ours
synthetic: true
description: Made for a test.
hospitals: [north]
sources: {pathology: {table: {file: pathology.csv}, mpp: 1.0, tile: 48, tissue: 0.3}}
dictionary: {labels: [idh]}
"""


def encoder(folder: Path, **options: object) -> FeatureExtractor:
    folder.mkdir(parents=True, exist_ok=True)
    model = timm.create_model("test_vit", num_classes=0, img_size=SIZE)
    if not (folder / "model.safetensors").exists():
        save_file(model.state_dict(), folder / "model.safetensors")
    return FeatureExtractor(
        "test_vit", weights=str(folder / "model.safetensors"), model_args={"img_size": SIZE}, size=SIZE, **options
    )


def site_folder(root: Path, files: dict[str, str]) -> Path:
    """A hospital of which each file is listed with its patient."""
    folder = root / "north"
    folder.mkdir(parents=True)
    (root / "cohort.yaml").write_text(DECLARATION)
    patients = sorted(set(files.values()))
    rows = [f"{patient},{index % 2}" for index, patient in enumerate(patients)]
    (folder / "patients.csv").write_text("\n".join(["patient_id,idh", *rows]))
    (folder / "pathology.csv").write_text(
        "\n".join(["patient_id,file", *(f"{owner},{name}" for name, owner in files.items())])
    )
    return folder


def write_cohort(root: Path) -> Path:
    """Two patients: one slide, and three regions of which two are the same file."""
    folder = site_folder(root, {"a.svs": "p1", "b.png": "p2", "c.png": "p2", "d.png": "p2"})
    write_tiff(folder / "a.tif", tissue(512, 512)).rename(folder / "a.svs")
    for name, seed in (("b", 1), ("c", 2), ("d", 1)):
        Image.fromarray(tissue(64, 64, seed)).save(folder / f"{name}.png")
    return root


def extracted(root: Path, output: Path, extractor: FeatureExtractor, **options: object) -> dict[str, object]:
    problems = Problems()
    sites = read_sites(root, read_declaration(root), problems)
    problems.refuse_first()
    plan = Plan(output, **{"modality": "pathology", "workers": 0, "gpus": 0, **options})
    with RunRecord.open(output, "python -m foundation.data features", {}, 0) as record:
        facts = extract_features(sites, extractor, FeatureExtractor.load, plan)
        record.note("features", facts)
    return facts
