"""The picture of what an answer goes by: where its colours lie, and of which slice it is."""

import io
from collections.abc import Callable

import numpy as np
import pydicom

from foundation.modalities.radiology.preparation import ScanSource
from foundation.modalities.radiology.scan import Scan
from serve.clinic.heat_map import blended
from serve.clinic.reading import ShownSlice
from tests.serve.clinic.conftest import Clinic
from tests.serve.clinic.studies import SyntheticStudy

GREY = np.full((1, 4, 4), 0.0, np.float32)


def shown(rows: int, columns: int, spacing: tuple[float, float] = (1.0, 1.0)) -> ShownSlice:
    """An even grey of 128 (of a window from -1 to 1)."""
    return ShownSlice(pydicom.Dataset(), Scan(np.zeros((1, rows, columns), np.float32), spacing, (0, 2)), 0, 8)


def coloured(picture: np.ndarray) -> np.ndarray:
    """-1 where blue was added, 1 where red was, 0 where nothing changed."""
    return np.sign(picture[..., 0].astype(int) - picture[..., 2])


def test_squares_of_the_request_lie_over_the_pixels_that_they_showed():
    changes = np.array([[1.0, 0.0], [0.0, -1.0]])
    expected = np.kron(np.array([[1, 0], [0, -1]]), np.ones((2, 2), int))
    np.testing.assert_array_equal(coloured(blended(shown(4, 4), changes)), expected)


def test_a_wide_slice_has_its_squares_where_the_request_s_black_margin_left_it():
    changes = np.array([[1.0, 1.0], [0.5, 0.5], [-0.5, -0.5], [-1.0, -1.0]])  # the margin takes the first and last row
    expected = [[1] * 8, [1] * 8, [-1] * 8, [-1] * 8]
    np.testing.assert_array_equal(coloured(blended(shown(4, 8), changes)), expected)


def test_strength_of_colour_follows_the_change():
    picture = blended(shown(2, 2), np.array([[1.0, 0.5], [0.0, 0.0]]))
    assert picture[0, 0].tolist() == [round(0.4 * 128 + 0.6 * 255), round(0.4 * 128), round(0.4 * 128)]
    assert picture[0, 1].tolist() == [round(0.7 * 128 + 0.3 * 255), round(0.7 * 128), round(0.7 * 128)]
    assert picture[1, 1].tolist() == [128, 128, 128]


def test_a_slice_s_map_lies_in_the_study_names_its_slice_and_says_what_it_shows(clinic: Callable[..., Clinic]):
    study = SyntheticStudy(5)
    here = clinic(list(study.datasets())).run(heat_maps=True)
    (drawn,) = here.carrier.datasets("OT")
    second = list(study.datasets())[1]
    assert drawn.SourceImageSequence[0].ReferencedSOPInstanceUID == second.SOPInstanceUID
    assert (drawn.StudyInstanceUID, drawn.PatientID) == (study.uid, study.patient)
    assert drawn.PatientOrientation == ["L", "P"]
    assert str(drawn.DerivationDescription).startswith("probability of present; red squares raise it, blue ones lower")
    assert drawn.pixel_array.shape == (24, 24, 3)
    halves = [[0, 1], [-1, 0]]
    np.testing.assert_array_equal(coloured(drawn.pixel_array), np.kron(halves, np.ones((12, 12), int)))
    assert here.carrier.stored[-1] == here.carrier.datasets("SR")[0].SOPInstanceUID, "the report comes last"


def test_a_map_of_a_slice_that_says_no_orientation_says_none(clinic: Callable[..., Clinic]):
    study = SyntheticStudy(5, slices=2)
    datasets = list(study.datasets(ImageOrientationPatient=None, ImagePositionPatient=None))
    here = clinic(datasets).run(heat_maps=True, source=ScanSource(files="*", side=32))
    (drawn,) = here.carrier.datasets("OT")
    stream = io.BytesIO()
    drawn.save_as(stream)
    assert not pydicom.dcmread(io.BytesIO(stream.getvalue())).PatientOrientation
