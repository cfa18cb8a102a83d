"""A study as a request, by the readers that training's scans came through."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydicom.dataset import Dataset

from foundation.data.problems import DataError, Problems
from foundation.errors import UserError
from foundation.modalities.radiology.dicom import Series, open_series, to_scan
from foundation.modalities.radiology.preparation import ScanSource, slice_settings
from foundation.modalities.radiology.scan import Scan, choose, to_slices
from foundation.modalities.radiology_volumes.request import VolumesForm
from foundation.modalities.radiology_volumes.scans import to_volume
from foundation.modalities.request import RequestError
from serve.clinic.study import Study, StudySeries
from serve.schema import BundleSchema

SLICES, VOLUMES = "radiology", "radiology_volumes"
Value = TypeVar("Value")


@dataclass(frozen=True)
class ShownSlice:
    """A slice as the request holds it, and where it is from.

    Attributes:
        header: of its file.
        scan: that it is of.
        place: of the slice in that scan.
        side: of the square that the request shows it on, pixels.
    """

    header: Dataset
    scan: Scan
    place: int
    side: int


@dataclass(frozen=True)
class StudyRequest:
    """What is asked about a study.

    Attributes:
        request: by modality, as the endpoint takes it.
        slices: by field, such as `radiology[3]`.
        warnings: what was left out or looks wrong, a line each.
    """

    request: dict[str, Any]
    slices: dict[str, ShownSlice]
    warnings: list[str]


def check_takes_scans(schema: BundleSchema) -> None:
    """Refuses a model that looks at no radiology.

    Raises:
        UserError: saying what it takes.
    """
    if not schema.modalities.keys() & {SLICES, VOLUMES}:
        takes = ", ".join(schema.modalities)
        raise UserError(f"bundle: the model takes {takes}, nothing of an archive; give one that takes {SLICES}")


def read_study(study: Study, schema: BundleSchema, source: ScanSource) -> StudyRequest:
    """Every series of a study as slices, as a volume, or both, as the model takes them.

    Args:
        study: that was fetched.
        schema: of the bundle that will answer.
        source: how scans become slices, in the words of `sources.radiology` of a cohort.

    Raises:
        RequestError: naming the series that cannot be read.
    """
    warnings = list(study.left_out)
    slices: list[ShownSlice] = []
    images: list[Any] = []
    volumes: list[Any] = []
    settings = slice_settings(source)
    volume_form: Any = schema.modalities.get(VOLUMES)
    for one in study.series:
        series = _told_by_series(one, warnings, partial(open_series, one.files, rescale=source.rescale))
        if SLICES in schema.modalities:
            scan = to_scan(series, settings)
            images += list(to_slices(scan, settings))
            headers = dict(zip(one.files, one.headers, strict=True))
            slices += [
                ShownSlice(headers[series.slices[place].path], scan, int(place), settings.side)
                for place in choose(len(series.slices), settings.slices)
            ]
        if isinstance(volume_form, VolumesForm):
            volumes.append(_placed(one, series, volume_form, warnings))
    request = {SLICES: schema.modalities[SLICES].write(images)} if images else {}
    if isinstance(volume_form, VolumesForm) and volumes:
        request[VOLUMES] = volume_form.write(np.stack(volumes))
    return StudyRequest(request, {f"{SLICES}[{place}]": one for place, one in enumerate(slices)}, warnings)


def _placed(one: StudySeries, series: Series, form: VolumesForm, warnings: list[str]) -> Any:
    return _told_by_series(one, warnings, lambda problems: form.grid.place(to_volume(Path(one.name), series)))


def _told_by_series(one: StudySeries, warnings: list[str], read: Callable[[Problems], Value]) -> Value:
    """What a reader makes of a series, its findings told by the series' name instead of this machine's paths."""
    problems = Problems()
    try:
        value = read(problems)
    except DataError as error:
        field = f"{one.name}: {error.problem.field}" if error.problem.field else one.name
        raise RequestError(field, error.problem.finding, error.problem.advice) from error
    told: Mapping[str, None] = {f"{one.name}: {problem.finding}": None for problem in problems.warnings}
    warnings += list(told)
    return value
