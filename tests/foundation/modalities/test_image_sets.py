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
