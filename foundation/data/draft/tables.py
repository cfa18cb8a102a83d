"""What tables are, told by their columns and cells: expression, mutations, images listed, reports, records."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from foundation.data.draft.glance import Glance
from foundation.data.genes import GeneVocabulary

_IMAGES = re.compile(r"\.(svs|ndpi|mrxs|tiff?|png|jpe?g|dcm|nii(\.gz)?|h5|hdf5)$", re.IGNORECASE)
_RADIOLOGY = re.compile(r"mri|\bct\b|xray|x-ray|radio|chest|scan|\.dcm|\.nii", re.IGNORECASE)
_FEWEST = 20  # columns that are genes, unless most are
_LONG = 60  # characters of a cell that is a report
_SUFFIXES = {"_rnaseq": "expression", "_rna": "expression", "_mut": "mutations", "_cnv": "copy_number", "": ""}
_EITHER = ("sample", "id")  # columns of samples, or in Xena's files of genes
_WILD, _UNSEEN = {"WT", "wt", "wild", "wildtype"}, {"NS", "NA", "n/a", "NP"}


@dataclass
class Recognised:
    """What one table, or a part of it, is.

    Attributes:
        place: under `sources`.
        source: its declaration.
        questions: what nobody but the hospital can tell.
    """

    place: str
    source: dict[str, Any]
    questions: list[str] = field(default_factory=list)


def recognise(table: Glance, vocabulary: GeneVocabulary, root: Path) -> list[Recognised]:
    """What a table is; nothing where it can only be a table of patients.

    Args:
        table: at a look.
        vocabulary: of genes.
        root: the folder that it was found in, where files that it lists may lie.
    """
    place = {"file": table.name, **table.dialect}
    portal = _portal(table, place)
    if portal is not None:
        return [portal]
    rows = _genes_in_rows(table, place, vocabulary)
    if rows is not None:
        return [rows]
    found = _genes_in_columns(table, place, vocabulary)
    key = table.key()
    if found or key is None:
        return found
    listed = [name for name in table.columns if name != key and _share(table.text(name), _IMAGES) > 0.8]
    if listed:
        beside = (root / table.name).parent
        there = [name for name in listed if _exists(beside / table.text(name).iloc[0])]
        return [_listing(table, place, key, (there or listed)[0], bool(there))]
    lengths = {name: table.text(name).str.len().mean() for name in table.columns if len(table.text(name))}
    longest = max(lengths, key=lambda name: lengths[name], default=None)
    if longest is not None and lengths[longest] > _LONG and " " in "".join(table.text(longest).iloc[:1]):
        dates = [name for name in table.columns if name.lower() in ("date", "report_date")]
        columns = {"text": longest} | ({"date": dates[0]} if dates else {})
        return [Recognised("reports", {"table": {**place, **table.key_fields(key), "columns": columns}})]
    return []


def _portal(table: Glance, place: dict[str, Any]) -> Recognised | None:
    """By the header that a portal or pipeline writes."""
    names, low = set(table.columns), table.name.lower()
    if names >= {"Hugo_Symbol", "Variant_Classification", "Tumor_Sample_Barcode"}:
        asked = ["Who was sequenced without a variant? List them in a file: sequenced: FILE"]
        return Recognised("mutations", {**place, "form": "maf"}, asked)
    if any(line.startswith("#1.") for line in table.comments) and low.removesuffix(".gz").endswith(".gct"):
        return Recognised("expression", {**place, "form": "gct", "unit": "tpm"}, [_UNIT])
    if names >= {"Geneid", "Chr", "Start", "End", "Strand", "Length"}:
        return Recognised("expression", {**place, "form": "featurecounts"})
    if "tpm_unstranded" in names:
        files = (Path(table.name).parent / "*.tsv").as_posix()
        return Recognised("expression", {"file": files, "form": "gdc_star"}, ["Do the files' names begin with ids?"])
    if names >= {"Gene Symbol", "Locus ID", "Cytoband"}:
        return Recognised("copy_number", {**place, "form": "gistic"})
    if "Hugo_Symbol" in names and len(names) > 2:
        copies = "cna" in low or "cnv" in low or "gistic" in low
        said: dict[str, Any] = {**place, "form": "cbioportal"}
        if table.columns[-1].startswith("TCGA-"):
            said["key_pattern"] = r"(TCGA-\w{2}-\w{4})-\d\d"
        return Recognised("copy_number", said) if copies else Recognised("expression", _with_unit(said, table), [_UNIT])
    return None


_UNIT = "Is the unit right? One of counts, cpm, tpm, fpkm, their logarithms (log2_tpm, ln_cpm, log10_...), zscore."


def _genes_in_rows(table: Glance, place: dict[str, Any], vocabulary: GeneVocabulary) -> Recognised | None:
    first = table.columns[0] if table.columns else None
    if first is None or len(table.columns) < 2 or not len(table.text(first)):
        return None
    others = [len(table.numbers(name)) > 0 for name in table.columns[1:]]
    if (first == table.key() and first.lower() not in _EITHER) or sum(others) < 0.8 * len(others):
        return None  # P1 and its like are aliases of genes, too
    names = list(table.text(first).str.partition("|")[0].str.partition(".")[0])
    if len(names) < 3 or len(vocabulary.resolve(names).symbol) < 0.6 * len(set(names)):
        return None
    source = {**place, "genes_in": "rows", "key": first}
    return Recognised("expression", _with_unit(source, table), [_UNIT])


def _genes_in_columns(table: Glance, place: dict[str, Any], vocabulary: GeneVocabulary) -> list[Recognised]:
    found = []
    taken: set[str] = set()
    key = table.key() or table.columns[0]
    for suffix, said in _SUFFIXES.items():
        names = [name for name in table.columns if name.endswith(suffix) and name not in taken and name != key]
        genes = vocabulary.resolve(name.removesuffix(suffix) for name in names).symbol
        columns = [name for name in names if name.removesuffix(suffix) in genes]
        if len(columns) < 3 or (len(columns) < _FEWEST and len(columns) < 0.5 * len(names)):
            continue
        taken.update(names if suffix else columns)
        source = {**place, **table.key_fields(key), **({"suffix": suffix} if suffix else {})}
        found.append(_channel(said, source, table, columns))
    return found


def _channel(said: str, source: dict[str, Any], table: Glance, columns: list[str]) -> Recognised:
    """Which kind of values genes have, by the columns' suffix or by the cells."""
    cells = pd.concat([table.text(name) for name in columns[:50]])
    words = set(cells.unique()) & (_WILD | _UNSEEN)
    if said == "mutations" or words & _WILD or set(cells.unique()) <= {"0", "1", "0.0", "1.0"}:
        calls = {"wild_type": sorted(words & _WILD), "missing": sorted(words & _UNSEEN)}
        return Recognised("mutations", {**source, **{name: some for name, some in calls.items() if some}})
    whole = cells.str.fullmatch(r"-?[0-2](\.0+)?").all()
    if said == "copy_number" or (whole and cells.str.startswith("-").any()):
        return Recognised("copy_number", source)
    return Recognised("expression", _with_unit(source, table, columns), [_UNIT])


def _with_unit(source: dict[str, Any], table: Glance, columns: list[str] | None = None) -> dict[str, Any]:
    """A guess at the unit, which a question asks to confirm."""
    names = [name for name in columns or table.columns[1:] if len(table.numbers(name))][:50]
    values = pd.concat([table.numbers(name) for name in names]) if names else pd.Series([0.0])
    if (values < 0).any():
        unit = "zscore"
    elif (values == values.round()).all():
        unit = "counts"
    else:
        unit = "log2_tpm" if values.max() < 30 else "tpm"
    return {**source, "unit": unit}


def _listing(table: Glance, place: dict[str, Any], key: str, listed: str, there: bool) -> Recognised:
    cells = table.text(listed)
    radiology = _RADIOLOGY.search(f"{table.name} {cells.iloc[0]}") is not None
    columns = {} if listed == "file" else {"columns": {"file": listed}}
    source = {"table": {**place, **table.key_fields(key), **columns}}
    asked = [] if radiology or "he" in re.split(r"[^a-z]", cells.iloc[0].lower()) else [_WHICH]
    asked += [] if there else [f"Where do the files of '{listed}' lie? Say path: FOLDER/{{file}}"]
    return Recognised("radiology" if radiology else "pathology", source, asked)


_WHICH = "Are these pathology images? Put them under radiology if not."


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a cell may be longer than any file's name
        return False


def _share(cells: "pd.Series[str]", pattern: re.Pattern[str]) -> float:
    return float(cells.map(lambda cell: pattern.search(cell) is not None).mean()) if len(cells) else 0.0
