"""A hospital's files, read as declared: one table a modality, keyed by patient, images still on disk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment
from rich.progress import Progress

from foundation.data import sources
from foundation.data.declaration import FILE, Declaration, GeneSource, HospitalColumn, ImageSource, ReportSource
from foundation.data.expression import read_expression
from foundation.data.fhir import FhirSource, read_fhir, read_fhir_survival
from foundation.data.genes import GeneVocabulary
from foundation.data.hospitals import by_column
from foundation.data.listing import list_images
from foundation.data.mutations import read_copy_number, read_mutations
from foundation.data.problems import Problems, refuse
from foundation.data.reports import join_reports, read_texts
from foundation.data.tables import TableSource, read_source
from foundation.data.units import convert

IMAGES = ("pathology", "radiology")
CHANNELS = ("expression", "mutations", "copy_number")


@dataclass
class Site:
    """One hospital.

    Attributes:
        name: of the hospital.
        folder: where its files lie.
        patients: labels and survival, indexed by patient.
        images: by modality, a row a file: `path` and `kind`, indexed by patient.
        image_sources: by modality, how its files are to be read.
        channels: by genomics channel, `[patients, symbols]` float32, expression in the cohort's unit.
        reports: `text`, and `date` where known, indexed by patient.
        record: the data dictionary's columns, indexed by patient.
        files: by modality, the file that was read, for messages.
    """

    name: str
    folder: Path
    patients: pd.DataFrame
    images: dict[str, pd.DataFrame] = field(default_factory=dict)
    image_sources: dict[str, ImageSource] = field(default_factory=dict)
    channels: dict[str, pd.DataFrame] = field(default_factory=dict)
    reports: pd.DataFrame | None = None
    record: pd.DataFrame | None = None
    files: dict[str, Path] = field(default_factory=dict)

    def tables(self) -> dict[str, pd.DataFrame]:
        """What there is besides `patients`, by name."""
        more = {"reports": self.reports, "record": self.record}
        return {**self.images, **self.channels, **{name: table for name, table in more.items() if table is not None}}

    def only(self, patients: "pd.Index[str]", name: str | None = None) -> "Site":
        """The same with those patients alone, under another name if one is given."""

        def own(table: pd.DataFrame) -> pd.DataFrame:
            return table[table.index.isin(patients)]

        return Site(
            name or self.name,
            self.folder,
            own(self.patients),
            {modality: own(table) for modality, table in self.images.items()},
            self.image_sources,
            {channel: own(table) for channel, table in self.channels.items()},
            None if self.reports is None else own(self.reports),
            None if self.record is None else own(self.record),
            self.files,
        )


def read_sites(root: Path, declaration: Declaration, problems: Problems, bars: Progress | None = None) -> list[Site]:
    """Every hospital's tables; what cannot be read is noted and left out.

    Args:
        root: the cohort's folder.
        declaration: of it.
        problems: takes what is wrong.
        bars: shows how far it got.
    """
    hospitals = declaration.hospitals
    folders = {root.name: root} if isinstance(hospitals, HospitalColumn) else {name: root / name for name in hospitals}
    sites = []
    for name, folder in folders.items() if bars is None else bars.track(folders.items(), description="Reading"):
        site = problems.attempt(_read, name, folder, declaration, problems)
        if site is not None:
            sites.append(site)
    if not isinstance(hospitals, HospitalColumn):
        return sites
    return [part for site in sites for part in _divide(site, hospitals, problems)]


def _divide(site: Site, hospitals: HospitalColumn, problems: Problems) -> list[Site]:
    named = problems.attempt(by_column, site.folder, site.patients, hospitals, site.files["patients"])
    return [] if named is None else [site.only(patients, name) for name, patients in named.items()]


def _read(name: str, folder: Path, declaration: Declaration, problems: Problems) -> Site:
    if not folder.is_dir():
        advice = f"{FILE} names this hospital: give its folder, or drop its name"
        raise refuse(folder, "no such folder", advice, field="hospitals")
    places = sources.find(folder, declaration.sources)
    assert places.patients is not None
    if isinstance(places.patients, FhirSource):
        file = folder / places.patients.files
        patients = read_fhir_survival(folder, places.patients, **declaration.dictionary.survival)
    else:
        file = folder / places.patients.file
        patients = read_source(folder, places.patients)
    if not len(patients):
        raise refuse(file, "no patient", "fill the table, or take the hospital out")
    site = Site(name, folder, patients, files={"patients": file})
    for modality in IMAGES:
        source = getattr(places, modality)
        if source is not None:
            _list(site, modality, source, problems)
    for channel in CHANNELS:
        given = getattr(places, channel)
        if given is not None:
            each = given if isinstance(given, list) else [given]
            table = problems.attempt(_channel, site, channel, each, declaration, problems)
            if table is not None:
                site.channels[channel] = table
    if places.record is not None:
        site.record = problems.attempt(_record, site, places.record)
    if places.reports is not None:
        site.reports = problems.attempt(_reports, site, places.reports, problems)
    _strangers(site, declaration, problems)
    return site.only(site.patients.index)


def _list(site: Site, modality: str, source: ImageSource, problems: Problems) -> None:
    site.files[modality] = site.folder / (source.table.file if source.table else str(source.files))
    listed = problems.attempt(list_images, site.folder, source, site.patients.index, problems)
    if listed is not None and len(listed):
        site.images[modality], site.image_sources[modality] = listed, source


def _channel(
    site: Site, channel: str, each: list[GeneSource], declaration: Declaration, problems: Problems
) -> pd.DataFrame | None:
    """`[patients, symbols]`, None where no source can be used; of several sources the first that knows a value says it.

    A patient of whom one source says throughout that nothing was looked for is filled by none after it.
    """
    vocabulary, wanted = GeneVocabulary.shipped(), declaration.dictionary.expression_unit
    merged = pd.DataFrame()
    for source in each:
        path = site.folder / source.file
        site.files.setdefault(channel, path)
        if channel == "expression":
            unit = source.unit or str(declaration.expression_units.get(site.name, wanted))
            found = read_expression(path, unit, source, vocabulary)
        else:
            unit = wanted
            found = (read_mutations if channel == "mutations" else read_copy_number)(path, source, vocabulary)
        problems.found.extend(found.notes)
        if any(note.severity == "error" for note in found.notes):
            continue
        table = convert(found.values, unit, wanted, path) if channel == "expression" else found.values
        nothing = merged.index[merged.isna().all(axis=1)]
        merged = merged.combine_first(table[~table.index.isin(nothing)])
    return None if merged.empty else merged


def _record(site: Site, source: TableSource | FhirSource) -> pd.DataFrame:
    if isinstance(source, FhirSource):
        site.files["record"] = site.folder / source.files
        return read_fhir(site.folder, source)
    site.files["record"] = site.folder / source.file
    return read_source(site.folder, source)


def _reports(site: Site, source: ReportSource, problems: Problems) -> pd.DataFrame:
    if source.template is not None:
        site.files["reports"] = site.files.get("record", site.folder)
        return _written(site, source.template)
    if source.table is not None:
        site.files["reports"] = site.folder / source.table.file
        return join_reports(read_source(site.folder, source.table, unique=False), site.files["reports"])
    assert source.files is not None
    site.files["reports"] = site.folder / source.files
    return join_reports(read_texts(site.folder, source.files, site.patients.index, problems), site.files["reports"])


def _written(site: Site, template: str) -> pd.DataFrame:
    """A sentence a patient, from the record alone."""
    if site.record is None:
        raise refuse(site.folder, "reports are written from the record, and there is none", "declare sources.record")
    try:
        write = SandboxedEnvironment().from_string(template).render
        rows = site.record.astype(object).where(site.record.notna(), None).to_dict(orient="index")
        texts = {patient: " ".join(write(**row).split()) for patient, row in rows.items()}
    except (TemplateError, TypeError) as error:
        raise refuse(FILE, f"no template ({error})", "mend it", field="sources.reports.template") from error
    return pd.DataFrame({"text": pd.Series(texts, dtype=object)})


def _strangers(site: Site, declaration: Declaration, problems: Problems) -> None:
    """Rows of patients who are not in the patients' table are noted, unless the declaration leaves them out."""
    if declaration.strangers == "ignore":
        return
    tables: dict[str, Any] = site.tables()
    for name, table in tables.items():
        strange = table.index.difference(site.patients.index)
        if len(strange):
            found = f"{len(strange)} patients who are not in {site.files['patients'].name}, the first"
            advice = f"add them, drop their rows, or say strangers: ignore in {FILE}"
            problems.error(site.files[name], found, advice, field="patient_id", value=strange[0])
