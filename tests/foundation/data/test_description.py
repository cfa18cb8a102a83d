"""The page of a cohort: its table of outcomes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from foundation.data.description import _outcomes
from foundation.data.dictionary import DataDictionary


def test_outcomes_of_several_classes_are_shares_and_of_two_a_mean():
    patients = pd.DataFrame(
        {
            "hospital": ["north", "north", "north", "south"],
            "idh": [0.0, 1.0, np.nan, 1.0],
            "subtype": [2.0, 0.0, np.nan, np.nan],
        }
    )
    table = _outcomes(SimpleNamespace(patients=patients, dictionary=DataDictionary(labels=["idh", "subtype"])))
    assert list(table) == ["idh known", "idh mean", "subtype known", "subtype is 0", "subtype is 2"]
    assert table.loc["north"].tolist() == [2, 0.5, 2, 0.5, 0.5]
    assert table.loc["south", ["idh known", "idh mean", "subtype known"]].tolist() == [1, 1.0, 0]
    assert table.loc["south", ["subtype is 0", "subtype is 2"]].isna().all()
