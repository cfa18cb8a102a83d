"""Volumes of a study: on the grid as training's own reading of the series lays them there."""

import asyncio
from pathlib import Path

import numpy as np

from foundation.data.problems import Problems
from foundation.modalities.image_request import ImagesForm
from foundation.modalities.radiology.preparation import ScanSource
from foundation.modalities.radiology_volumes.grid import Grid
from foundation.modalities.radiology_volumes.request import VolumesForm
from foundation.modalities.radiology_volumes.scans import read_volume
from serve.clinic.archive import Archive
from serve.clinic.reading import read_study
from serve.clinic.study import Study, fetch
from tests.serve.clinic.conftest import ADDRESS
from tests.serve.clinic.fake_archive import FakeArchive
from tests.serve.clinic.stub_endpoint import contract
from tests.serve.clinic.studies import SyntheticStudy

GRID = Grid.model_validate({"spacing": [4, 4, 5], "shape": [8, 8, 8], "windows": [[0, 2000]]})


def fetched(study: SyntheticStudy, folder: Path) -> Study:
    carrier = FakeArchive(study.datasets())
    return asyncio.run(fetch(Archive(ADDRESS, carrier=carrier), study.uid, study.patient, ["CT"], folder))


def test_series_become_volumes_and_slices_in_the_order_of_their_numbers(tmp_path: Path):
    study = SyntheticStudy(3, slices=4, series=2)
    (tmp_path / "fetched").mkdir()
    form = VolumesForm(grid=GRID)
    schema = contract({"radiology": ImagesForm(size=32), "radiology_volumes": form}).schema
    asked = read_study(fetched(study, tmp_path / "fetched"), schema, ScanSource(files="*", slices=3, side=32))
    volumes = form.read(asked.request["radiology_volumes"], "radiology_volumes", [])
    for number in (1, 2):
        folder = tmp_path / f"series{number}"
        folder.mkdir()
        for dataset in study.datasets():
            if dataset.SeriesNumber == number:
                dataset.save_as(folder / f"{dataset.InstanceNumber}.dcm", enforce_file_format=True)
        expected = GRID.place(read_volume(folder, "dicom", None, Problems()))
        np.testing.assert_array_equal(volumes[number - 1], expected)
    assert len(asked.request["radiology"]) == 6
    names = [str(asked.slices[f"radiology[{place}]"].header.SOPInstanceUID) for place in range(6)]
    assert names == [f"{study.uid}.{series}.{place}" for series in (1, 2) for place in (1, 3, 4)]
