"""The plan of what will be received, made and shown before anything is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from rich.table import Table

from foundation.data.portals.cases import Case
from foundation.data.portals.cbioportal import CBioPortal
from foundation.data.portals.gdc import KINDS, File, Gdc
from foundation.data.portals.selection import Selection
from foundation.data.portals.tcia import Series, Tcia
from foundation.data.problems import refuse

Item = TypeVar("Item", File, Series)


@dataclass
class Portals:
    """The three portals, ready to be asked."""

    gdc: Gdc
    cbioportal: CBioPortal
    tcia: Tcia


@dataclass
class Plan:
    """The patients taken, and what is received of each.

    Attributes:
        cases: by patient.
        files: of the GDC, by modality.
        series: of TCIA.
        samples: patient → sample whose copy number is asked for.
        labels: name → patient → 0 or 1.
        releases: of the portals asked.
    """

    cases: list[Case]
    files: dict[str, list[File]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    releases: dict[str, object] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all files; of radiology unpacked."""
        return sum(file.file_size for files in self.files.values() for file in files) + sum(
            each.bytes for each in self.series
        )

    def table(self, project: str) -> Table:
        """What will be received, for people."""
        table = Table("modality", "patients", "files", "GB", title=f"{project}: {len(self.cases)} patients")
        for modality, files in self.files.items():
            size = sum(file.file_size for file in files)
            _row(table, modality, [file.patient for file in files], size)
        if self.series:
            size = sum(each.bytes for each in self.series)
            _row(table, "radiology", [each.patient for each in self.series], size)
        if self.samples:
            table.add_row("copy_number", str(len(self.samples)), "-", "-")
        table.add_section()
        count = sum(len(files) for files in self.files.values()) + len(self.series)
        table.add_row("all", str(len(self.cases)), str(count), f"{self.bytes / 1e9:.3f}")
        return table


def make_plan(portals: Portals, wanted: Selection) -> Plan:
    """Asks the portals what there is, and draws the patients.

    Raises:
        DataError: if a portal's answer cannot be used, or a modality asked for has nothing.
    """
    releases: dict[str, object] = {"gdc": portals.gdc.release()}
    cases = portals.gdc.cases()
    files = {kind: portals.gdc.files(kind, wanted.sample_codes) for kind in KINDS if kind in wanted.modalities}
    series, samples, labels = [], {}, {}
    if "radiology" in wanted.modalities:
        series = portals.tcia.series(wanted.dicom_modalities, wanted.smallest_series)
    if "copy_number" in wanted.modalities or wanted.labels:
        releases["cbioportal"] = portals.cbioportal.release()
        labels = portals.cbioportal.labels(wanted.labels)
    if "copy_number" in wanted.modalities:
        samples = portals.cbioportal.copy_number_samples(wanted.sample_codes)
    known = {case.submitter_id for case in cases}
    have = {kind: {file.patient for file in listed} & known for kind, listed in files.items()}
    have |= {"radiology": {each.patient for each in series} & known, "copy_number": set(samples) & known}
    for modality in wanted.modalities:
        if modality != "record" and not have[modality]:
            advice = "take it out of modalities, or name study, collection or sample_types that have it"
            raise refuse(wanted.project, f"no patient has {modality}", advice, field="modalities", value=modality)
    if wanted.complete:
        known = known.intersection(*(have[modality] for modality in wanted.modalities if modality != "record"))
        if not known:
            raise refuse(wanted.project, "no patient has every modality", "say complete=false", field="complete")
    drawn = set(wanted.draw(sorted(known)))
    return Plan(
        cases=[case for case in cases if case.submitter_id in drawn],
        files={
            kind: _first(
                (file for file in listed if file.patient in drawn),
                wanted.slides_per_patient if kind == "pathology" else 1,
            )
            for kind, listed in files.items()
        },
        series=_first((each for each in series if each.patient in drawn), wanted.series_per_patient),
        samples={patient: sample for patient, sample in samples.items() if patient in drawn},
        labels=labels,
        releases=releases,
    )


def _first(items: Iterable[Item], most: int | None) -> list[Item]:
    """At most so many a patient, in the order given."""
    taken: dict[str, list[Item]] = {}
    for each in items:
        mine = taken.setdefault(each.patient, [])
        if most is None or len(mine) < most:
            mine.append(each)
    return [each for mine in taken.values() for each in mine]


def _row(table: Table, name: str, patients: list[str], size: int) -> None:
    table.add_row(name, str(len(set(patients))), str(len(patients)), f"{size / 1e9:.3f}")
