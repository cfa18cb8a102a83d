"""The declaration of a table of genes."""

from typing import Literal

from pydantic import Field

from foundation.data.tables import Pattern, Strict, Word


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
        wild_type: words of a gene table of calls that mean looked for and not found.
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
    wild_type: list[Word] = Field([])
    missing: list[Word] = Field([])
