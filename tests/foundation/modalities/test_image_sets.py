"""A patient's set of images of whatever sizes: packed as they are, read one by one, resized each as alone."""

import numpy as np
import torch
from PIL import Image

from foundation.data.cohort import Cohort
from foundation.data.description import describe
from foundation.data.pack import pack
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.radiology.encoder import Radiology
from tests.foundation.cohort_files import picture, write_cohort

SMALL, LARGE = (np.random.default_rng(side).integers(0, 255, (side, 40, 3), dtype=np.uint8) for side in (32, 50))


def test_images_of_unlike_size_are_resized_each_as_alone():
    for module in (kind(8, backbone="test_resnet", size=32) for kind in (Pathology, Radiology)):
        both = module.transform([SMALL, LARGE], None)
        assert both["images"].shape == (2, 32, 32, 3)
        for index, image in enumerate((SMALL, LARGE)):
            torch.testing.assert_close(both["images"][index : index + 1], module.transform(image[None], None)["images"])


def test_images_of_one_patient_keep_their_sizes_and_their_pixels(tmp_path):
    root = write_cohort(tmp_path / "raw")
    wide = picture(1, 96)
    Image.fromarray(wide).save(root / "north" / "pathology" / "N000_1.png")
    assert pack(root, tmp_path / "packed")["found"]["north"]["pathology"] == 3
    cohort = Cohort(tmp_path / "packed")
    images = cohort.sample("N000")["pathology"]
    assert [row.shape for row in images.rows(slice(None))] == [(64, 64, 3), (96, 96, 3)]
    np.testing.assert_array_equal(images[1], wide)
    module = Pathology(8, backbone="test_resnet", size=32)
    given = module.transform(images, None)["images"]
    torch.testing.assert_close(given[1:], module.transform(wide[None], None)["images"])
    assert ">Pathology<" in describe(cohort)


def test_inference_looks_at_more_than_training_up_to_its_own_bound():
    module = Pathology(8, backbone="test_resnet", size=32, max_images=2, max_images_inference=5).eval()
    images = np.stack([SMALL[:32, :32]] * 7)
    assert len(module.transform(images, None)["mask"]) == 2
    module.looks_at_all = True
    inputs = module.transform(images, None)
    assert module.examined(images, inputs) == ("images", 5, 7)
    assert len(module.transform(images, torch.Generator())["mask"]) == 2


def test_images_that_pass_some_at_a_time_give_what_all_give_together(monkeypatch):
    """Also where patients have unlike numbers of them and stains are moved."""
    torch.manual_seed(0)
    reference = {"mean": [0.5, 0.3, 0.1], "spread": [0.2, 0.2, 0.1]}
    module = Pathology(8, backbone="test_resnet", size=32, max_images=9, stain_reference=reference).eval()
    rng = np.random.default_rng(0)
    sets = [rng.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8) for count in (9, 1, 4)]
    inputs = module.collate([module.transform(images, None) for images in sets])
    with torch.no_grad():
        together, features = module(inputs), module.features(inputs)
        monkeypatch.setattr("foundation.modalities.images._AT_ONCE", 4)
        in_parts, features_in_parts = module(inputs), module.features(inputs)
    torch.testing.assert_close(in_parts.values, together.values)
    torch.testing.assert_close(features_in_parts, features)
