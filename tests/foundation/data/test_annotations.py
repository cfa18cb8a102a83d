"""Annotations beside images: left out and named, whatever layout they lie in; images whose names are alike stay."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from foundation.data.annotations import is_annotation
from foundation.data.listing import list_images
from foundation.data.problems import Problems
from foundation.modalities.pathology.preparation import TileSource
from foundation.modalities.radiology.preparation import ScanSource

DRAWN = [
    "labelsTr/P1.nii.gz",
    "Task01/labelsTs/P1_0000.nii.gz",
    "P1/P1-seg.nii.gz",
    "P1/P1_seg.nii",
    "P1/P1_mask.nii.gz",
    "P1_brainmask.nii.gz",
    "P1_BrainMask.nii.gz",
    "sub-P1/anat/sub-P1_desc-brain_mask.nii.gz",
    "sub-P1/anat/sub-P1_dseg.nii.gz",
    "sub-P1/anat/sub-P1_label-GM_probseg.nii.gz",
    "P1/segmentations/liver.nii.gz",
    "P1/segmentation.nii.gz",
    "segmentation-P1.nii",
    "P1_frame01_gt.nii.gz",
    "ground_truth/P1.nii.gz",
    "P1_groundtruth.png",
    "P1_msk.nii.gz",
    "P1_GTVp.nii.gz",
    "P1/SEG",
    "P1/RTSTRUCT/1.dcm",
    "label0001/P1_label0001.nii.gz",
    "P1_labelmap.png",
    "masks/P1.png",
    "train_label_masks/P1_mask.tiff",
    "P1-labelled.png",
    "P1_overlay.jpg",
    "P1_annotations.tif",
    "P1_mask1.png",
]
IMAGES = [
    "imagesTr/P1_0000.nii.gz",
    "P1/P1-t1c.nii.gz",
    "P1_T1w_masked.nii.gz",  # a scan less its skull
    "sub-P1/ses-01/anat/sub-P1_ses-01_T1w.nii.gz",
    "P1/ct.nii.gz",
    "P1/imaging.nii.gz",
    "volume-P1.nii",
    "P1_segment3.png",
    "P1_seg3.png",  # of a liver
    "P1_roi_2.png",
    "label_1/P1.png",  # a folder of a class
    "P1_GT_2.png",
    "slides/P1-01Z-00-DX1.83fce43e-42ac-4dcd-b156-2908e75f2e47_1.jpg",
    "P1_contrast.nii.gz",
    "P1_unlabeled/1.png",
]


@pytest.mark.parametrize("name", DRAWN)
def test_names_of_annotations(name):
    assert is_annotation(Path(name), "P1")


@pytest.mark.parametrize("name", IMAGES)
def test_names_of_images(name):
    assert not is_annotation(Path(name), "P1")


@pytest.mark.parametrize("patient", ["MASK-01", "SEG_7", "GT", "label"])
def test_a_patients_id_is_no_such_word(patient):
    assert not is_annotation(Path(f"{patient}/{patient}_t1.nii.gz"), patient)


def scan(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(100, 30, (12, 12, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)


def test_they_are_left_out_with_one_warning_that_names_them(tmp_path):
    for patient in ("B1", "B2"):
        scan(tmp_path / "radiology" / "imagesTr" / f"{patient}_0000.nii.gz")
        scan(tmp_path / "radiology" / "labelsTr" / f"{patient}.nii.gz")
    (tmp_path / "radiology" / "imagesTr" / "B1_0000.json").write_text("{}")
    problems = Problems()
    listed = list_images(tmp_path, ScanSource(files="radiology/**/*"), ["B1", "B2"], problems)
    assert [Path(path).name for path in listed["path"]] == ["B1_0000.nii.gz", "B2_0000.nii.gz"]
    (line,) = map(str, problems.warnings)
    assert "2 left out as annotations (masks, segmentations, label maps): radiology/labelsTr/B1.nii.gz, radio" in line
    assert "labelsTr/B2.nii.gz; declare annotations: keep" in line
    assert problems.errors == []


def test_they_are_kept_where_that_is_declared(tmp_path):
    scan(tmp_path / "labels" / "B1.nii.gz")
    problems = Problems()
    source = ScanSource(files="labels/*", annotations="keep")
    assert list(list_images(tmp_path, source, ["B1"], problems).index) == ["B1"]
    assert problems.listed == []


def test_a_table_that_lists_them_is_told_too(tmp_path):
    for name in ("a.png", "a_mask.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "pathology.csv").write_text("patient_id,file\nP1,a.png\nP1,a_mask.png\n")
    problems = Problems()
    listed = list_images(tmp_path, TileSource(table={"file": "pathology.csv"}), ["P1"], problems)
    assert [Path(path).name for path in listed["path"]] == ["a.png"]
    (line,) = map(str, problems.warnings)
    assert "pathology.csv: field file: 1 left out as annotations" in line
    assert ": a_mask.png; " in line
