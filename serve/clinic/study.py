"""A study fetched from the archive, every instance of which is held against the patient it was asked about."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from foundation.modalities.request import RequestError
from serve.clinic.archive import Archive, ArchiveError, ListedInstance
from serve.clinic.gathering import gathered

_AT_ONCE = 4  # instances on their way
_MEND = "mend it in the archive, then ask again"
# Of one person everywhere, where they are said; names are not among them, for each scanner writes them its own way.
_PERSON = ("IssuerOfPatientID", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True)
class StudySeries:
    """One series of a study, fetched.

    Attributes:
        uid: SeriesInstanceUID.
        name: `series 3`, by its SeriesNumber, as lines name it.
        files: of its instances.
        headers: of each file, without pixels.
    """

    uid: str
    name: str
    files: list[Path]
    headers: list[Dataset]


@dataclass(frozen=True)
class Study:
    """What of a study is looked at.

    Attributes:
        series: in the order of their numbers.
        left_out: what is not, a line each.
    """

    series: list[StudySeries]
    left_out: list[str]

    @property
    def headers(self) -> list[Dataset]:
        """Of all instances that are looked at."""
        return [header for one in self.series for header in one.headers]


async def fetch(archive: Archive, study: str, patient: str, modalities: Collection[str], folder: Path) -> Study:
    """Brings the series of some modalities here.

    Args:
        archive: that has the study.
        study: its StudyInstanceUID.
        patient: PatientID of whom it was asked about.
        modalities: such as `CT`.
        folder: to write to.

    Raises:
        RequestError: if anything in it is not, or not surely, of that patient, or nothing is of these modalities.
        ArchiveError: if an instance does not come whole.
    """
    listed = await archive.instances(study)
    check_patient(patient, {one.patient for one in listed})
    wanted = [one for one in listed if one.modality in modalities]
    if not wanted:
        known = ", ".join(sorted({one.modality for one in listed} - {""})) or "none"
        advice = f"ask about studies with {', '.join(modalities)}"
        raise RequestError("Modality", f"the study has {known}", advice)
    room = asyncio.Semaphore(_AT_ONCE)

    async def bring(place: int, one: ListedInstance) -> tuple[Path, Dataset]:
        async with room:
            content = await archive.retrieve(study, one)
        path = folder / f"{place:06d}.dcm"
        path.write_bytes(content)
        return path, await asyncio.to_thread(_checked, path, study, one)

    brought = await gathered(bring(place, one) for place, one in enumerate(wanted))
    headers = [header for _, header in brought]
    check_patient(patient, {str(header.get("PatientID", "")).strip() for header in headers})
    _check_person(headers)
    return _sorted_out(brought, [one for one in listed if one.modality not in modalities])


def check_patient(patient: str, there: Collection[str]) -> None:
    """Refuses what is of somebody else, of several, or of nobody; no line says who.

    Args:
        patient: PatientID that was asked about.
        there: those that the study has.

    Raises:
        RequestError: naming the tag.
    """
    if len(there) > 1:
        raise RequestError("PatientID", f"{len(there)} patients in one study", _MEND)
    if not patient or there != {patient}:
        finding = "another patient's than whose it was asked about as" if any(there) else "the study says none"
        raise RequestError("PatientID", finding, _MEND)


def _checked(path: Path, study: str, listed: ListedInstance) -> Dataset:
    """An instance's header, if it is the one that was asked for."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        uids = [str(header.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, EOFError) as error:
        raise ArchiveError("a retrieved instance is no readable DICOM file; look into the archive's log") from error
    if uids != [study, listed.series, listed.instance]:
        raise RequestError("SOPInstanceUID", "the archive sent another instance than the one asked for", _MEND)
    return header


def _check_person(headers: Sequence[Dataset]) -> None:
    for name in _PERSON:
        values = {str(header.get(name) or "").strip() for header in headers} - {""}
        if len(values) > 1:
            raise RequestError(name, f"{len(values)} of them under one PatientID", _MEND)


def _sorted_out(brought: Sequence[tuple[Path, Dataset]], others: Sequence[ListedInstance]) -> Study:
    """Series in order; without localizers, which show where a scan was taken."""
    by_series: dict[str, list[tuple[Path, Dataset]]] = {}
    for path, header in brought:
        by_series.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    series, left_out = [], []
    for uid, pairs in sorted(by_series.items(), key=lambda item: (_number(item[1][0][1]), item[0])):
        name = f"series {_number(pairs[0][1])}"
        scans = [(path, header) for path, header in pairs if "LOCALIZER" not in _kinds(header)]
        if len(scans) < len(pairs):
            left_out.append(f"{name}: {len(pairs) - len(scans)} localizers left out")
        if scans:
            series.append(StudySeries(uid, name, [path for path, _ in scans], [header for _, header in scans]))
    left_out += [f"{len({one.series for one in others})} series of other modalities left out"] if others else []
    if not series:
        raise RequestError("ImageType", "localizers alone", "ask about studies with scans")
    return Study(series, left_out)


def _number(header: Dataset) -> int:
    number = header.get("SeriesNumber")
    return 0 if number is None else int(number)


def _kinds(header: Dataset) -> list[str]:
    kinds = header.get("ImageType") or []
    return [kinds] if isinstance(kinds, str) else [str(kind) for kind in kinds]
