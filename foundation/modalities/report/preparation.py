"""Reports from a hospital's files: rows of a table, text files, or sentences written from the record.

Usual places: `reports.csv` (or another form of table) with `text`, and `date`; else `reports/*.txt`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandas as pd
from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field, ValidationError, model_validator
from rich.progress import Progress

from foundation.data.clinical_checks import event_dates
from foundation.data.declaration import FILE, Declaration
from foundation.data.dictionary import DataDictionary
from foundation.data.identifiers import mask_text
from foundation.data.preparation import Packing, Preparation
from foundation.data.problems import Problems, refuse, refuse_invalid
from foundation.data.site import Site
from foundation.data.sources import usual_table
from foundation.data.strict import Pattern, Strict
from foundation.data.table_rows import ByRows, table_by_rows
from foundation.data.tables import Kinds, TableSource, read_source
from foundation.modalities.report.label_words import check_label_words, words_of_label
from foundation.modalities.report.storage import STORAGE
from foundation.modalities.report.text_checks import check_coverage, check_identifiers, check_leaks
from foundation.modalities.report.texts import join_reports, read_texts

_TABLE = "reports"
_KINDS = Kinds(text=["text", "date"])


class ReportSource(Strict):
    """Reports: a table with `text` (and `date`), text files, or a sentence written from the record.

    Args:
        table: a row a report.
        files: a glob of text files; the patient as for images.
        key_pattern: regular expression whose group is the patient in a file's path, where names hold no or several ids.
        template: Jinja; the record's columns are its variables. It must say that it is written from the record.
    """

    table: TableSource | None = None
    files: str | None = None
    key_pattern: Pattern | None = None
    template: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "ReportSource":
        if sum(way is not None for way in (self.table, self.files, self.template)) != 1:
            raise ValueError("give one of table, files and template")
        if self.key_pattern is not None and self.files is None:
            raise ValueError("key_pattern: for files by name; a table's own key_pattern stands within table")
        return self


class ReportSettings(Strict):
    """What hospitals agree on under `dictionary.settings.report`.

    Args:
        pieces: word pieces that the vocabulary has beside the shipped words, as where a federation trains.
    """

    pieces: list[Annotated[str, Field(pattern=r"^\S+$")]]


class ReportPreparation(Preparation):
    """A patient's reports become one text."""

    storage = STORAGE
    sources: ClassVar[Mapping[str, Any]] = {_TABLE: ReportSource}
    after = ("record",)

    def approve(self, dictionary: DataDictionary, path: Path) -> DataDictionary:
        if STORAGE.name in dictionary.settings:
            try:
                ReportSettings.model_validate(dictionary.settings[STORAGE.name])
            except ValidationError as error:
                advice = "list word pieces, or drop it"
                raise refuse_invalid(path, error, advice, "dictionary.settings", STORAGE.name) from error
        return dictionary

    def usual(self, folder: Path, field: str) -> ReportSource | None:
        file = usual_table(folder, field)
        if file is not None:
            return ReportSource(table=TableSource(file=file))
        return ReportSource(files="reports/*.txt") if any(folder.glob("reports/*.txt")) else None

    def by_rows(self, source: Any, folder: Path) -> ByRows | None:
        rows = None if source.table is None else table_by_rows(source.table, folder)
        if rows is None:
            return None
        moved = rows.moved
        return replace(rows, moved=lambda to: source.model_copy(update={"table": moved(to)}))

    def read(self, site: Site, places: Mapping[str, Any], declaration: Declaration, problems: Problems) -> None:
        if _TABLE in places:
            ignore = declaration.unknown_patients == "ignore"
            texts = problems.attempt(_read, site, places[_TABLE], problems, ignore)
            if texts is not None:
                site.tables[_TABLE] = texts

    def patients(self, site: Site) -> "pd.Index[str]":
        return site.tables[_TABLE].index if _TABLE in site.tables else pd.Index([])

    def check(self, site: Site, declaration: Declaration, problems: Problems) -> None:
        if len(self.patients(site)):
            check_leaks(site.tables[_TABLE], site.files[_TABLE], event_dates(site.patients), problems)
            _check_labels(site, declaration, problems)

    def check_together(
        self, sites: list[Site], declaration: Declaration, problems: Problems, bars: Progress, images: bool
    ) -> None:
        task = bars.add_task("Searching reports for identifiers", total=1)
        each = [(site.tables[_TABLE]["text"], site.files[_TABLE]) for site in sites if len(self.patients(site))]
        check_identifiers(each, declaration.deidentify.text == "mask", problems)
        check_coverage(each, problems)
        bars.remove_task(task)

    def pack(self, packing: Packing) -> pd.DataFrame:
        texts = pd.Series("", packing.order)
        if _TABLE in packing.site.tables:
            texts = packing.site.tables[_TABLE]["text"].reindex(packing.order).fillna("")
        texts = mask_text(texts) if packing.declaration.deidentify.text == "mask" else texts
        return pd.DataFrame({"report_text": texts, "report": texts != ""}, packing.order)


PREPARATION = ReportPreparation()


def _check_labels(site: Site, declaration: Declaration, problems: Problems) -> None:
    dictionary, patients = declaration.dictionary, declaration.sources.patients
    columns = patients.columns or {} if isinstance(patients, TableSource) else {}
    labels = [name for name in dictionary.labels if name in site.patients and name not in dictionary.quantities]
    words = {}
    for name in labels:
        values = columns[name].values if name in columns else None
        words[name] = words_of_label(name, [*(values or {}), *dictionary.classes.get(name, [])])
    coded = site.patients[labels].apply(pd.to_numeric, errors="coerce")
    check_label_words(site.tables[_TABLE]["text"], coded, words, site.files[_TABLE], problems)


def _read(site: Site, source: ReportSource, problems: Problems, leave_out: bool) -> pd.DataFrame:
    if source.template is not None:
        site.files[_TABLE] = site.files.get("record", site.folder)
        return _written(site, source.template)
    if source.table is not None:
        site.files[_TABLE] = site.folder / source.table.file
        texts = read_source(site.folder, source.table, unique=False, kinds=_KINDS, problems=problems)
        return join_reports(texts, site.files[_TABLE], site.landmarks, problems)
    assert source.files is not None
    path = site.files[_TABLE] = site.folder / source.files
    owners = (site.patients.index, source.key_pattern)
    return join_reports(
        read_texts(site.folder, source.files, *owners, problems, leave_out), path, site.landmarks, problems
    )


def _written(site: Site, template: str) -> pd.DataFrame:
    """A sentence a patient, from the record alone."""
    record = site.tables.get("record")
    if record is None:
        raise refuse(site.folder, "reports are written from the record, and there is none", "declare sources.record")
    try:
        write = SandboxedEnvironment().from_string(template).render
        rows = record.astype(object).where(record.notna(), None).to_dict(orient="index")
        texts = {patient: " ".join(write(**row).split()) for patient, row in rows.items()}
    except (TemplateError, TypeError) as error:
        raise refuse(FILE, f"no template ({error})", "mend it", field="sources.reports.template") from error
    return pd.DataFrame({"text": pd.Series(texts, dtype=object)})
