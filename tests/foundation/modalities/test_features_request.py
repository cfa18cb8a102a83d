"""Tile features in a request: what the model was trained on is what it is sent."""

import numpy as np
import pytest

from foundation.data.dictionary import DataDictionary
from foundation.errors import UserError
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.pathology.request import FeaturesForm
from serve.client import to_request
from serve.schema import BundleSchema


def test_features_are_asked_for_read_and_written():
    form = TileFeatures(8, dim=3).request_form(DataDictionary())
    assert form == FeaturesForm(dim=3)
    raw = form.read([[1, 2.5, -3], [0, 0, 1]], "pathology", [])
    assert raw.dtype == np.float32 and raw.tolist() == [[1, 2.5, -3], [0, 0, 1]]
    schema = BundleSchema.model_construct(modalities={"pathology": form})
    assert to_request({"pathology": raw}, schema) == {"pathology": raw.tolist()}
    assert form.describe()["items"]["maxItems"] == 3


def test_raw_tiles_are_asked_for_at_the_extractors_magnification():
    _, images = FeaturesForm(dim=3, size=224, mpp=0.5, tile=256).describe()["oneOf"]
    assert images["description"].startswith("Tiles of 256 by 256 pixels at 0.5 microns per pixel")
    _, images = FeaturesForm(dim=3, size=224).describe()["oneOf"]
    assert "description" not in images


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "pathology: found []; give a list of tiles, 3 numbers each"),
        ([[1, 2]], "pathology[0]: found 2 numbers; give 3 numbers"),
        ([[1, 2, 3], "x"], "pathology[1]: found 'x'; give 3 numbers"),
        ([[1, 2, None]], "pathology[0][2]: found nothing; give a finite number"),
        ([[1, 2, float("nan")]], "pathology[0][2]: found nan; give a finite number"),
        ([[1, 2, True]], "pathology[0][2]: found True; give a finite number"),
        ([[1, 2, 1e7]], "pathology[0][2]: found 1e+07; give features of at most 1e+06"),
        ([[1, 2, 1e39]], "pathology[0][2]: found 1e+39; give a finite number"),
        ([[1, 2, 10**400]], "pathology[0][2]: found an integer of 401 digits; give a finite number"),
    ],
)
def test_what_is_no_feature_is_refused_by_field(value, said):
    with pytest.raises(UserError) as caught:
        FeaturesForm(dim=3).read(value, "pathology", [])
    assert str(caught.value).startswith(said)
