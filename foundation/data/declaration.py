"""`cohort.yaml`: a cohort's declaration, in which a hospital says what its files hold.

Files in their usual places need no word; see `sources.py` for the places. Whatever lies elsewhere, under other column
names or in another unit is declared under `sources`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from foundation.data.dictionary import DataDictionary
from foundation.data.fhir_source import FhirSource
from foundation.data.genes import GeneVocabulary
from foundation.data.problems import refuse
from foundation.data.tables import Pattern, Strict, TableSource, Word
from foundation.data.units import Unit

FILE = "cohort.yaml"
ImageKind = Literal["images", "slides", "features", "dicom", "nifti"]


def _one_or_many(given: Any) -> str:
    return "(list)" if isinstance(given, list) else "(one)"


def _form(given: Any) -> str:
    files = isinstance(given, FhirSource) or (isinstance(given, dict) and "files" in given)
    return "(FHIR)" if files else "(table)"


_LIST = Discriminator(_one_or_many)
# Told apart by `files`, so that an error is one of the form that was meant.
RowSource = Annotated[
    Annotated[TableSource, Tag("(table)")] | Annotated[FhirSource, Tag("(FHIR)")], Discriminator(_form)
]


class ImageSource(Strict):
    """Pathology or radiology: a table that lists files, or files whose names begin with the patient.

    Args:
        table: with a column `file`, a row a file.
        files: a glob, in the hospital's folder; the patient is the one whose id stands in the file's or its folder's
            name.
        kind: of the files; by their suffix if not given.
        mpp: of tiles cut from slides, microns per pixel.
        slide_mpp: of the slides themselves, where they do not say.
        tile: side of a tile in pixels.
        tissue: least share of a tile that is tissue.
        max_tiles: kept a slide, drawn by seed; all if None.
        seed: of that draw.
        slices: kept a scan, evenly spread; every one if None.
        side: to which slices are resized.
        window: centre and width in Hounsfield units for CT; percentiles elsewhere.
        keep: at most so many files a patient, the first by `order`.
        order: columns of the table, a minus for descending.
    """

    table: TableSource | None = None
    files: str | None = None
    kind: ImageKind | None = None
    mpp: float = Field(0.5, gt=0)
    slide_mpp: float | None = Field(None, gt=0)
    tile: int = Field(256, ge=16)
    tissue: float = Field(0.3, ge=0, le=1)
    max_tiles: int | None = Field(None, ge=1)
    seed: int = 0
    slices: int | None = Field(8, ge=1)
    side: int = Field(256, ge=16)
    window: tuple[float, float] | None = None
    keep: int | None = Field(None, ge=1)
    order: list[str] = Field([])

    @model_validator(mode="after")
    def _one_way(self) -> "ImageSource":
        if (self.table is None) == (self.files is None):
            raise ValueError("give either table or files")
        return self


class GeneSource(Strict):
    """Expression, mutations or copy number.

    Args:
        file: in the hospital's folder.
        key: column (or AnnData `obs` column) that names the patient; the index of AnnData if None.
        key_pattern: regular expression whose group is the patient, where the key holds more (a sample's barcode).
        genes_in: `columns`, a column a gene, or `rows`, a row a gene.
        unit: of expression: see `foundation.data.units`; of copy number `copies` (-2 to 2) or `log2_ratio`.
        layer: of AnnData.
        suffix: of the gene columns, taken off; columns without it are no genes.
        clip: values beyond plus or minus this are set to it.
        wild: words of a gene table of calls that mean looked for and not found.
        missing: words that mean not looked for.
    """

    file: str
    key: str | None = None
    key_pattern: Pattern | None = None
    genes_in: Literal["columns", "rows"] = "columns"
    unit: str | None = None
    layer: str | None = None
    suffix: str = ""
    clip: float | None = Field(None, gt=0)
    wild: list[Word] = Field([])
    missing: list[Word] = Field([])


class ReportSource(Strict):
    """Reports: a table with `text` (and `date`), text files, or a sentence written from the record.

    Args:
        table: a row a report.
        files: a glob of text files; the patient as for images.
        template: Jinja; the record's columns are its variables. It must say that it is written from the record.
    """

    table: TableSource | None = None
    files: str | None = None
    template: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "ReportSource":
        if sum(way is not None for way in (self.table, self.files, self.template)) != 1:
            raise ValueError("give one of table, files and template")
        return self


class Sources(Strict):
    """Where each modality lies; None looks in the usual places.

    A list is read in order: the first that knows a value says it. Patients of a FHIR export have its survival.
    """

    patients: RowSource | None = None
    pathology: ImageSource | None = None
    radiology: ImageSource | None = None
    expression: GeneSource | None = None
    mutations: (
        Annotated[Annotated[GeneSource, Tag("(one)")] | Annotated[list[GeneSource], Tag("(list)")], _LIST] | None
    ) = None
    copy_number: GeneSource | None = None
    reports: ReportSource | None = None
    record: RowSource | None = None


class HospitalColumn(Strict):
    """Hospitals named by a column of the patients' table; all files lie in one folder.

    Args:
        column: of the patients' table, after renaming; the patient's id if None.
        pattern: regular expression whose group names the hospital, where the cell holds more.
        table: translates what was found: keyed by it, its first column is the hospital's name.
        names: hospital as written there → as it shall be called.
        smallest: hospitals with fewer patients are pooled under `rest`.
        rest: name of the pooled ones.
        leave_out: hospitals, as they shall be called, whose patients are not taken.
    """

    column: str | None = None
    pattern: Pattern | None = None
    table: TableSource | None = None
    names: dict[str, str] = Field({})
    smallest: int = 1
    rest: str = "others"
    leave_out: list[str] = Field([])

    @model_validator(mode="after")
    def _some_way(self) -> "HospitalColumn":
        if self.column is None and self.pattern is None:
            raise ValueError("give column, pattern or both")
        if self.table is not None and not self.table.columns:
            raise ValueError("table: give columns, the first of them the hospital's name")
        return self


class Deidentify(Strict):
    """What is done before anything is packed.

    Args:
        ids: `hash` replaces patient ids by keyed hashes.
        key: file of the key, which stays at the site; made if it is missing.
        text: what happens to identifiers found in reports.
    """

    ids: Literal["keep", "hash"] = "keep"
    key: str | None = None
    text: Literal["flag", "mask"] = "flag"

    @model_validator(mode="after")
    def _key_for_hash(self) -> "Deidentify":
        if self.ids == "hash" and self.key is None:
            raise ValueError("ids: hash needs key, a file that stays at the site")
        return self


class Declaration(Strict):
    """The whole of `cohort.yaml`.

    Args:
        name: of the cohort.
        synthetic: whether no person stands behind it.
        description: for readers of the model card.
        hospitals: names, a folder each; or the column that holds them.
        expression_units: by hospital, where it differs from the dictionary's.
        smallest_coverage: least share of the dictionary's genes that a hospital's expression must hold.
        strangers: whether a row of a patient who is not in the patients' table is an error or is left out.
        sources: where the files lie, unless in the usual places.
        deidentify: what is done before packing.
        dictionary: what columns and genes mean.
    """

    name: str
    synthetic: bool
    description: str
    hospitals: Annotated[Annotated[list[str], Tag("(list)")] | Annotated[HospitalColumn, Tag("(one)")], _LIST]
    expression_units: dict[str, Unit] = Field({})
    smallest_coverage: float = Field(0.5, ge=0, le=1)
    strangers: Literal["error", "ignore"] = "error"
    sources: Sources = Sources()
    deidentify: Deidentify = Deidentify()
    dictionary: DataDictionary

    @model_validator(mode="after")
    def _somebody(self) -> "Declaration":
        if isinstance(self.hospitals, list):
            if not self.hospitals:
                raise ValueError("hospitals: none named")
            twice = {name for name in self.hospitals if self.hospitals.count(name) > 1}
            if twice:
                raise ValueError(f"hospitals: '{min(twice)}' stands twice")
        return self


def read_declaration(root: Path) -> Declaration:
    """The declaration in a cohort's folder.

    Raises:
        DataError: if it is missing, no YAML, or a field is wrong.
    """
    path = root / FILE
    if not path.is_file():
        raise refuse(path, "missing", "a cohort's folder declares itself there (see README, own data)")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refuse(path, f"not readable as YAML ({error})", "mend the file") from error
    return declare(content, path)


def declare(content: Any, path: Path) -> Declaration:
    """A declaration from plain values; `path` is named in errors.

    Raises:
        DataError: naming the first field that is wrong.
    """
    if not isinstance(content, dict):
        raise refuse(path, f"found a {type(content).__name__}", "give name, hospitals, dictionary (see README)")
    try:
        declaration = Declaration.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if not str(part).startswith("("))
        raise refuse(path, first["msg"], "see README, own data", field=field, value=first.get("input")) from error
    declaration.dictionary.genes = _approved(declaration.dictionary.genes, path)
    return declaration


def _approved(genes: list[str], path: Path) -> list[str]:
    """Genes under their approved symbols, in the order given."""
    vocabulary = GeneVocabulary.shipped()
    found = vocabulary.resolve(genes)
    for gene in genes:
        if gene not in found.symbol:
            advice = f"give approved symbols of {vocabulary.version}"
            raise refuse(path, "is no gene, or several", advice, field="dictionary.genes", value=gene)
    return list(dict.fromkeys(found.symbol[gene] for gene in genes))
