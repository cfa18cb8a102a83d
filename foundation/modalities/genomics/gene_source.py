"""The declaration of a table of genes, and the forms in which portals and pipelines write it."""

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from foundation.data.row_rule import RowRule
from foundation.data.samples import Samples
from foundation.data.strict import Pattern, Word
from foundation.modalities.genomics.sample_sheet import SampleSheet

Form = Literal["cbioportal", "gct", "featurecounts", "gdc_star", "gistic", "xena", "maf"]
# What each form says of itself; whatever a declaration says besides goes before it.
FORMS: dict[str, dict[str, Any]] = {
    "cbioportal": {"genes_in": "rows", "key": "Hugo_Symbol", "missing": ["NA"]},
    "gct": {"genes_in": "rows"},
    "featurecounts": {"genes_in": "rows", "key": "Geneid", "unit": "counts"},
    "gdc_star": {"genes_in": "rows", "key": "gene_id", "value": "tpm_unstranded", "unit": "tpm"},
    "gistic": {"genes_in": "rows", "key": "Gene Symbol"},
    "xena": {"genes_in": "rows"},
    "maf": {},
}
assert FORMS.keys() == set(get_args(Form))


class GeneSource(RowRule):
    """Expression, mutations or copy number.

    Args:
        file: in the hospital's folder; a glob of a file a patient where `value` is given.
        form: of a portal or pipeline, which says key, unit and the like; see `FORMS`.
        key: column that names the patient, or the gene where genes are in rows (the first column if None); the index of
            AnnData if None.
        key_pattern: regular expression whose group is the patient, where the key holds more (a sample's barcode).
        samples: which sample is taken of a patient's several: patterns, the first preferred, or `primary` for barcodes
            of TCGA; samples that match none are left out.
        sample_sheet: table that says whose each sample or file is, as beside a download of the Genomic Data Commons;
            instead of `key_pattern`.
        genes_in: `columns`, a column a gene, or `rows`, a row a gene.
        annotation: columns that are neither genes nor samples.
        value: the column that is read, where a file holds one patient, who is named by the file: by `key_pattern` in
            its path, or up to the first point of its name.
        unit: of expression: see `foundation.data.units`; of copy number `copies` (-2 to 2) or `log2_ratio`.
        offset: that was added to values before their logarithm was taken.
        layer: of AnnData; `raw` is its `raw.X` where no layer is called so.
        suffix: of the gene columns, taken off; columns without it are no genes.
        clip: values beyond plus or minus this are set to it.
        wild_type: words of a gene table of calls that mean looked for and not found.
        missing: words that mean not looked for, or not measured.
        classes: of a MAF, its class of variants → 1 (changes the protein) or 0, of those that the format does not name.
        sequenced: file of the samples sequenced, one a line, or cBioPortal's case list; those without a variant have 0.
    """

    file: str
    form: Form | None = None
    key: str | None = None
    key_pattern: Pattern | None = None
    samples: Samples | None = None
    sample_sheet: SampleSheet | None = None
    genes_in: Literal["columns", "rows"] = "columns"
    annotation: list[str] = Field([])
    value: str | None = None
    unit: str | None = None
    offset: float = Field(1.0, gt=0)
    layer: str | None = None
    suffix: str = ""
    clip: float | None = Field(None, gt=0)
    wild_type: list[Word] = Field([])
    classes: dict[Word, Literal[0, 1]] = Field({})
    sequenced: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_form(cls, declared: Any) -> Any:
        form = declared.get("form") if isinstance(declared, dict) else None
        return {**FORMS[form], **declared} if isinstance(form, str) and form in FORMS else declared

    @model_validator(mode="after")
    def _one_way_to_patients(self) -> "GeneSource":
        if self.sample_sheet is not None and self.key_pattern is not None:
            raise ValueError("give one of key_pattern and sample_sheet")
        return self

    def folder(self, path: Path) -> Path:
        """The hospital's folder, of the path of this source's file."""
        return path.parents[len(Path(self.file).parts) - 1]

    @model_validator(mode="after")
    def _dates_of_rows(self) -> "GeneSource":
        if self.date is not None and (self.genes_in == "rows" or self.value is not None or self.form == "maf"):
            raise ValueError("date: for tables with a row a patient; elsewhere choose under samples")
        return self
