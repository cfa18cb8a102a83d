"""Genomics from a hospital's files: tables of genes, brought to the cohort's genes and unit.

Usual places: `expression.csv` (`.tsv`, `.parquet`, `.h5ad`), `mutations.csv` (…, `.maf`), `copy_number.csv` (…), a
column a gene.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Tag
from rich.progress import Progress

from foundation.data.clinical_checks import SHOWN
from foundation.data.declaration import FILE, Declaration
from foundation.data.dictionary import DataDictionary
from foundation.data.genes import GeneVocabulary
from foundation.data.preparation import Packing, Preparation
from foundation.data.problems import Problems, refuse
from foundation.data.site import Site
from foundation.data.sources import ONE_OR_MANY, usual_table
from foundation.data.table_files import KEY
from foundation.data.table_rows import ByRows, readable
from foundation.data.units import convert
from foundation.modalities.genomics.expression import read_expression
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import GeneTable
from foundation.modalities.genomics.maf import is_maf
from foundation.modalities.genomics.mutations import read_copy_number, read_mutations
from foundation.modalities.genomics.panel import align, union
from foundation.modalities.genomics.storage import CHANNELS, STORAGE
from foundation.modalities.genomics.unit_checks import check_bases

_SEVERAL = Annotated[Annotated[GeneSource, Tag("(one)")] | Annotated[list[GeneSource], Tag("(list)")], ONE_OR_MANY]
_ENDINGS = {"expression": (".h5ad",), "mutations": (".maf", ".maf.gz"), "copy_number": ()}


class GenomicsPreparation(Preparation):
    """Each channel has its table; of a list of sources the first that knows a value says it."""

    storage = STORAGE
    sources: ClassVar[Mapping[str, Any]] = {"expression": GeneSource, "mutations": _SEVERAL, "copy_number": GeneSource}

    def approve(self, dictionary: DataDictionary, path: Path) -> DataDictionary:
        """Genes under their approved symbols, in the order given."""
        vocabulary = GeneVocabulary.shipped()
        resolved = vocabulary.resolve(dictionary.genes)
        for gene in dictionary.genes:
            if gene not in resolved.symbol:
                advice = f"give approved symbols of {vocabulary.version}"
                raise refuse(path, "is no gene, or several", advice, field="dictionary.genes", value=gene)
        genes = list(dict.fromkeys(resolved.symbol[gene] for gene in dictionary.genes))
        return dictionary.model_copy(update={"genes": genes})

    def complete(self, dictionary: DataDictionary, sites: list[Site]) -> DataDictionary:
        genes = dictionary.genes or union(table for site in sites for table in _channels(site).values())
        return dictionary.model_copy(update={"genes": genes})

    def facts(self) -> dict[str, Any]:
        return {"gene_vocabulary": GeneVocabulary.shipped().version}

    def usual(self, folder: Path, field: str) -> GeneSource | None:
        file = usual_table(folder, field, _ENDINGS[field])
        return None if file is None else GeneSource(file=file)

    def by_rows(self, source: Any, folder: Path) -> ByRows | None:
        """Tables of a column a gene, and of a row a patient."""
        if not isinstance(source, GeneSource) or source.genes_in == "rows" or source.value:
            return None
        if source.sequenced or source.sample_sheet:
            return None
        path = folder / source.file
        if not readable(path) or is_maf(path, source):
            return None

        def moved(to: Path) -> GeneSource:
            return source.model_copy(update={"file": str(to), "encoding": "utf-8"})

        return ByRows(path, source, source.key or KEY, source.key_pattern, moved)

    def read(self, site: Site, places: Mapping[str, Any], declaration: Declaration, problems: Problems) -> None:
        for channel in CHANNELS:
            source = places.get(channel)
            if source is not None:
                each = source if isinstance(source, list) else [source]
                table = problems.attempt(_read, site, channel, each, declaration, problems)
                if table is not None:
                    site.tables[channel] = table

    def patients(self, site: Site) -> "pd.Index[str]":
        known = [table.index[table.notna().any(axis=1)] for table in _channels(site).values()]
        return pd.Index([patient for index in known for patient in index])

    def counts(self, site: Site) -> dict[str, int]:
        return {name: int(table.notna().any(axis=1).sum()) for name, table in _channels(site).items()}

    def check(self, site: Site, declaration: Declaration, problems: Problems) -> None:
        if "expression" in site.tables:
            table, path = site.tables["expression"], site.files["expression"]
            _check_profiles(table, path, problems)
            if declaration.dictionary.genes:
                problems.attempt(align, table, declaration.dictionary.genes, path, declaration.smallest_coverage)

    def check_together(
        self, sites: list[Site], declaration: Declaration, problems: Problems, bars: Progress, images: bool
    ) -> None:
        check_bases(sites, declaration.dictionary.expression_unit, problems)
        _tell_genes(sites, declaration, problems)

    def pack(self, packing: Packing) -> pd.DataFrame:
        site, genes = packing.site, packing.dictionary.genes
        stacked = np.full((len(packing.order), len(CHANNELS), len(genes)), np.nan, dtype=np.float32)
        for index, channel in enumerate(CHANNELS):
            if channel in site.tables:
                values = align(site.tables[channel], genes, site.files[channel], smallest=0)
                stacked[:, index] = values.reindex(index=packing.order).to_numpy(dtype=np.float32)
        known: NDArray[np.bool_] = ~np.asarray(np.isnan(stacked).all(axis=(1, 2)))
        if known.any():
            np.save(packing.output / f"{STORAGE.name}.npy", stacked)
        return pd.DataFrame({"genomics": known, "genomics_row": np.arange(len(known))}, packing.order)


PREPARATION = GenomicsPreparation()


def _channels(site: Site) -> dict[str, pd.DataFrame]:
    return {channel: site.tables[channel] for channel in CHANNELS if channel in site.tables}


def _read(
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
            read = read_expression(path, unit, source, vocabulary, site.landmarks)
        else:
            unit = wanted
            read_channel = read_mutations if channel == "mutations" else read_copy_number
            read = read_channel(path, source, vocabulary, site.landmarks)
            if channel == "mutations" and source.sequenced is None and is_maf(path, source):
                _note_unnamed(site, read, path, problems)
        problems.listed.extend(read.notes)
        problems.steps.extend(read.steps)
        if any(note.severity == "error" for note in read.notes):
            continue
        table = read.values
        if channel == "expression":
            table = convert(table, unit, wanted, path, source.offset)
            problems.tell(path, f"profiles converted from {unit} to {wanted}", len(table) if unit != wanted else 0)
        nothing = merged.index[merged.isna().all(axis=1)]
        merged = merged.combine_first(table[~table.index.isin(nothing)])
    return None if merged.empty else merged


def _note_unnamed(site: Site, read: GeneTable, path: Path, problems: Problems) -> None:
    """Patients whom a MAF never names: it cannot tell whether they were sequenced."""
    unnamed = site.patients.index.difference(read.values.index)
    if len(unnamed):
        finding = f"{len(unnamed)} patients without a variant count as not sequenced, the first"
        advice = "if some were sequenced, list them in a file and say sequenced: FILE"
        problems.warn(path, finding, advice, field="sequenced", value=unnamed[0])


def _tell_genes(sites: list[Site], declaration: Declaration, problems: Problems) -> None:
    """Genes that were measured and are not in the dictionary, and those in it that nobody measured."""
    wanted = declaration.dictionary.genes
    tables = [(site.files[name], table) for site in sites for name, table in _channels(site).items()]
    if not wanted or not tables:
        return
    for path, table in dict(tables).items():
        problems.tell(path, "genes that the dictionary does not name, left out", len({*table.columns} - {*wanted}))
    measured = {gene for _, table in tables for gene in table.columns}
    nobody = [gene for gene in wanted if gene not in measured]
    if nobody:
        finding = f"{len(nobody)} of {len(wanted)} genes of the dictionary were measured by nobody, the first"
        advice = "take them out of the dictionary, or see how the tables call them"
        problems.warn(FILE, finding, advice, field="dictionary.genes", value=nobody[0])


def _check_profiles(table: pd.DataFrame, path: Path, problems: Problems) -> None:
    """Expression profiles that say nothing; all zero or constant is an error, without any value a warning."""
    values = table.to_numpy(dtype=np.float32)
    known = ~np.isnan(values)
    some = known.any(axis=1)
    low = np.where(known, values, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=1, initial=-np.inf)
    zero = some & (low == 0) & (high == 0)
    constant = some & (low == high) & ~zero & (known.sum(axis=1) > 1)
    advice = "leave the cells empty where nothing was measured, or export the profile again"
    for wrong, finding in ((zero, "every gene is zero"), (constant, "every gene has one value")):
        patients = table.index[wrong]
        for patient in patients[:SHOWN]:
            problems.error(path, f"patient {patient}: {finding}", advice, field="expression")
        if len(patients) > SHOWN:
            problems.error(path, f"{len(patients) - SHOWN} more patients: {finding}", advice, field="expression")
    if not some.all():
        finding = f"{int((~some).sum())} patients without any value, the first"
        problems.warn(path, finding, "drop their rows, or fill them", field="expression", value=table.index[~some][0])
