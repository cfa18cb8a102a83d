"""What colours alone say of a patient's images: stain, scanner and hospital, and little of the tumour."""

import numpy as np

from finetune.experts.responses import Floats
from foundation.data.cohort import Cohort
from foundation.data.storage import StoredImages

_QUANTILES = (5, 25, 50, 75, 95)
_STEP = 4  # every fourth pixel each way: a sixteenth of the work for the same statistics
SIZE = 3 * (2 + len(_QUANTILES))


def colour_statistics(cohort: Cohort, modality: str, patients: list[str]) -> Floats:
    """Mean, spread and quantiles of each channel, the mean over a patient's images: `[patients, 21]`.

    NaN for those who have no images of three channels.
    """
    rows = np.full((len(patients), SIZE), np.nan)
    for row, patient in enumerate(patients):
        if bool(cohort.patients.at[patient, modality]):
            images = cohort.sample(patient, [modality])[modality]
            pictures = images.rows(slice(None)) if isinstance(images, StoredImages) else list(images)
            described = [_of_image(picture) for picture in pictures if picture.ndim == 3 and picture.shape[-1] == 3]
            if described:
                rows[row] = np.mean(described, axis=0)
    return rows


def _of_image(image: np.ndarray) -> Floats:
    pixels = image[::_STEP, ::_STEP].reshape(-1, 3) / 255
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0), np.percentile(pixels, _QUANTILES, axis=0).ravel()])
