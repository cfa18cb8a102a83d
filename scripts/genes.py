"""The gene vocabulary that ships with the project, written from a copy of HGNC's complete set.

`python scripts/genes.py hgnc_complete_set.txt --date 2026-06-25` reads the tab-separated file that HGNC publishes at
https://www.genenames.org/download/ (CC0), or a Parquet file with the same content, and replaces
`foundation/data/hgnc.tsv.gz`. Nothing is downloaded. The same input gives the same bytes.
"""

import argparse
import gzip
from pathlib import Path

import pandas as pd

from foundation.files import write_bytes

OUTPUT = Path(__file__).parents[1] / "foundation/data/hgnc.tsv.gz"
# HGNC's names; packages that carry the set use the plural or call the id of the record its source.
COLUMNS = {
    "symbol": ("symbol",),
    "hgnc_id": ("hgnc_id", "source_id"),
    "ensembl": ("ensembl_gene_id", "ensembl_id"),
    "previous": ("prev_symbol", "prev_symbols"),
    "aliases": ("alias_symbol", "alias_symbols"),
}


def read(path: Path) -> pd.DataFrame:
    """Approved genes, one a row, sorted by symbol."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table = table[table["status"] == "Approved"]
    chosen = {name: next(known for known in names if known in table) for name, names in COLUMNS.items()}
    genes = pd.DataFrame({name: table[column] for name, column in chosen.items()}).fillna("")
    return genes.sort_values("symbol", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="HGNC's complete set, .txt or .tsv, or .parquet")
    parser.add_argument("--date", required=True, help="of the set, as YYYY-MM-DD")
    parser.add_argument("--via", default="", help="the package that carried it, with version and licence")
    parser.add_argument("--sha256", default="", help="of HGNC's own file, where it is known")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    header = {
        "name": "HGNC",
        "version": arguments.date,
        "source": "HGNC complete set, HUGO Gene Nomenclature Committee, https://www.genenames.org/download/",
        "licence": "CC0 1.0",
        "via": arguments.via,
        "sha256": arguments.sha256,
    }
    genes = read(arguments.source)
    lines = "".join(f"# {key}: {value}\n" for key, value in header.items() if value)
    text = lines + genes.to_csv(sep="\t", index=False, lineterminator="\n")
    write_bytes(arguments.output, gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{arguments.output}: {len(genes)} genes, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
