"""Genes by symbol: a versioned vocabulary that ships with the project.

The table `hgnc.tsv.gz` holds the approved symbols of the HUGO Gene Nomenclature Committee with their former symbols,
aliases and Ensembl ids. Its head names source, licence and date; `scripts/genes.py` writes it.

Tweedie et al., Genenames.org: the HGNC and VGNC resources in 2021, Nucleic Acids Research 2021.
"""

import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path

import pandas as pd

from foundation.data.gene_names import before_the_spreadsheet, may_be_recased, parts
from foundation.data.problems import refuse
from foundation.data.table_files import read_bytes

SHIPPED = Path(__file__).with_name("hgnc.tsv.gz")
COLUMNS = ["symbol", "hgnc_id", "ensembl", "previous", "aliases"]
_HEADER = ("name", "version", "source", "licence")
# Aliases (of PLXNA3, AMACR, SGCG ...) that as a column's name mean something else.
_NO_GENES = {"ARM", "DSS", "ER", "NA", "NaN", "OS", "PR", "RACE", "SD", "SEX", "TYPE"}
Names = Mapping[str, str | frozenset[str]]  # a name's symbol, or its symbols where there are several


@dataclass(frozen=True)
class Resolution:
    """What became of a file's gene names. Nothing in it depends on their order.

    Attributes:
        symbol: given name → approved symbol, of all that were recognised.
        renamed: given name → how it was recognised, of those that are neither approved symbols nor accessions.
        unknown: names of no gene, sorted.
        ambiguous: given name → symbols that it may mean; left out.
        damaged: names that a spreadsheet turned into dates, recognised or not, sorted.
        duplicates: symbol → the given names that mean it, where there are several, sorted.
    """

    symbol: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    duplicates: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Step:
    """Names of one kind. They are put in order when one is first looked up: most are found before that.

    Attributes:
        how: in words, what a name was that is found here; empty of names that need none.
        table: see `GeneVocabulary`.
        columns: of it, that hold the names.
        left_out: names that as a column's mean something else.
    """

    how: str
    table: pd.DataFrame
    columns: list[str]
    left_out: Collection[str] = ()

    @cached_property
    def names(self) -> Names:
        pairs = (pair for column in self.columns for pair in _pairs(self.table, column))
        return _index(pair for pair in pairs if pair[0] not in self.left_out)


class GeneVocabulary:
    """Approved symbols and every other name that leads to one.

    A name is looked up as: approved symbol; Ensembl or HGNC id; former symbol; alias; then the same in other letter
    case; then as what a spreadsheet may have damaged. The first that knows it decides, and several genes there make it
    ambiguous. A former symbol goes before an alias, for annotations are made with the symbols of their day.

    Args:
        table: text columns `symbol`, `hgnc_id`, `ensembl`, `previous`, `aliases` (the last two separated by `|`).
        header: `name`, `version`, `source` and `licence` of the table, as its head says.
    """

    def __init__(self, table: pd.DataFrame, header: dict[str, str]) -> None:
        self.symbols: list[str] = sorted(table["symbol"])
        self.header = header
        self._steps = [
            _Step("", table, ["symbol"]),
            _Step("", table, ["ensembl", "hgnc_id"]),
            _Step("previous symbol", table, ["previous"]),
            _Step("alias", table, ["aliases"], _NO_GENES),
        ]

    @property
    def version(self) -> str:
        """Name and date of the table, such as `HGNC 2026-06-25`."""
        return f"{self.header['name']} {self.header['version']}"

    @classmethod
    @cache
    def shipped(cls) -> "GeneVocabulary":
        """The vocabulary that ships with the project, read once."""
        return cls.read(SHIPPED)

    @classmethod
    def read(cls, path: Path) -> "GeneVocabulary":
        """A vocabulary from a table like the shipped one.

        Raises:
            DataError: if the file is damaged, its head does not say what it is, or it is not such a table.
        """
        content = read_bytes(path)
        lines = list(takewhile(lambda line: line.startswith(b"#"), io.BytesIO(content)))  # the head alone
        head = [line[1:].decode().partition(":") for line in lines]
        header = {key.strip(): value.strip() for key, _, value in head}
        for key in _HEADER:
            if not header.get(key):
                raise refuse(path, "its head does not say what it is", f"add a line '# {key}: ...'", field=key)
        try:
            table = pd.read_csv(
                io.BytesIO(content), sep="\t", skiprows=len(lines), dtype=str, keep_default_na=False, encoding="utf-8"
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise refuse(path, f"not readable as a table ({error})", "write it again with scripts/genes.py") from error
        if list(table) != COLUMNS:
            finding = f"columns {', '.join(map(str, table.columns[:6]))}"
            raise refuse(path, finding, f"write {', '.join(COLUMNS)}, with scripts/genes.py")
        wrong = (table["symbol"] == "") | table["symbol"].duplicated()
        if wrong.any() or table.empty:
            name = table["symbol"][wrong].iloc[0] if wrong.any() else ""
            raise refuse(path, "symbols missing or twice", "write it again with scripts/genes.py", "symbol", value=name)
        return cls(table, header)

    def resolve(self, names: Iterable[str]) -> Resolution:
        """The approved symbols of names as files have them, repeats included."""
        wanted = sorted(names)
        resolution = Resolution()
        for name in dict.fromkeys(wanted):
            how, symbols = self._find(name)
            if how == "spreadsheet date":
                resolution.damaged.append(name)
            if len(symbols) > 1:
                resolution.ambiguous[name] = sorted(symbols)
            elif symbols:
                resolution.symbol[name] = next(iter(symbols))
                if how:
                    resolution.renamed[name] = how
            elif how != "spreadsheet date":
                resolution.unknown.append(name)
        by_symbol: defaultdict[str, list[str]] = defaultdict(list)
        for name in wanted:
            if name in resolution.symbol:
                by_symbol[resolution.symbol[name]].append(name)
        resolution.duplicates.update({symbol: names for symbol, names in sorted(by_symbol.items()) if len(names) > 1})
        return resolution

    @cached_property
    def _folded(self) -> list[Names]:
        return [
            _index((name.casefold(), symbol) for name, known in step.names.items() for symbol in _symbols(known))
            for step in self._steps
        ]

    def _find(self, name: str) -> tuple[str, frozenset[str]]:
        """How a name was recognised, and the genes that it may mean."""
        written = parts(name)
        for step in self._steps:
            if symbols := _union(step.names, written):
                return step.how, symbols
        before = before_the_spreadsheet(name)
        if before:
            return "spreadsheet date", next(
                (symbols for step in self._steps if (symbols := _union(step.names, before))), frozenset()
            )
        folded = [part.casefold() for part in written if may_be_recased(part) and part not in _NO_GENES]
        for names in self._folded:
            if symbols := _union(names, folded):
                return "letter case", symbols
        return "", frozenset()


def _pairs(table: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """Every name in a column, with the symbol of its row."""
    cells = zip(table[column], table["symbol"], strict=True)
    return [(name, symbol) for names, symbol in cells for name in names.split("|") if name]


def _index(pairs: Iterable[tuple[str, str]]) -> Names:
    """A set only where it is needed: hundreds of thousands of them take a second, and a hundred megabytes."""
    index: dict[str, str | frozenset[str]] = {}
    for name, symbol in pairs:
        known = index.setdefault(name, symbol)
        if known != symbol:
            index[name] = _symbols(known) | {symbol}
    return index


def _symbols(known: str | frozenset[str]) -> frozenset[str]:
    return frozenset([known]) if isinstance(known, str) else known


def _union(names: Names, written: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(_symbols(names[name]) for name in written if name in names))
