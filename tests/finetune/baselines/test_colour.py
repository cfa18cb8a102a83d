import numpy as np

from finetune.baselines.colour import SIZE, colour_statistics
from foundation.data.cohort import Cohort


def test_colours_of_those_who_have_images_alone(cohort: Cohort):
    patients = list(cohort.patients.index)
    values = colour_statistics(cohort, "pathology", patients)
    assert values.shape == (len(patients), SIZE)
    np.testing.assert_array_equal(~np.isnan(values).all(axis=1), cohort.patients["pathology"].astype(bool))
    images = next(cohort.sample(patient)["pathology"] for patient in patients if "pathology" in cohort.sample(patient))
    pixels = np.stack([image[::4, ::4] for image in images.rows(slice(None))]) / 255
    first = values[~np.isnan(values).all(axis=1)][0]
    np.testing.assert_allclose(first[:3], pixels.mean(axis=(0, 1, 2)), rtol=1e-9)
