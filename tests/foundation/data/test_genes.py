"""Gene names: what each way of writing one leads to, and that order never matters."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.data.genes import SHIPPED, GeneVocabulary
from foundation.data.problems import DataError

HGNC = GeneVocabulary.shipped()

NAMES = {
    "approved symbol": ("TP53", "TP53", None),
    "Ensembl id": ("ENSG00000141510", "TP53", None),
    "Ensembl id with version": ("ENSG00000141510.17", "TP53", None),
    "HGNC id": ("HGNC:11998", "TP53", None),
    "former symbol": ("MLL2", "KMT2D", "previous symbol"),
    "alias": ("HER2", "ERBB2", "alias"),
    "symbol and Entrez id": ("TP53 (7157)", "TP53", None),
    "symbol, pipe, Entrez id": ("TP53|7157", "TP53", None),
    "lower case after a number": ("c9orf72", "C9orf72", "letter case"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_gene_is_known_however_it_is_written(name):
    given, symbol, how = NAMES[name]
    found = HGNC.resolve([given])
    assert found.symbol == {given: symbol}
    assert found.renamed == ({} if how is None else {given: how})


def test_a_symbol_of_today_is_never_read_as_an_alias_of_another():
    wrong = {name: symbol for name, symbol in HGNC.resolve(HGNC.symbols).symbol.items() if name != symbol}
    assert wrong == {}


def test_dates_made_by_spreadsheets_are_named_and_read_where_only_one_gene_can_be_meant():
    found = HGNC.resolve(["2-Sep", "1-Mar", "2021-09-03"])
    assert found.damaged == ["1-Mar", "2-Sep", "2021-09-03"]
    assert found.symbol["2-Sep"] == "SEPTIN2"
    assert found.symbol["2021-09-03"] == "SEPTIN3"
    assert len(found.ambiguous["1-Mar"]) > 1


def test_unknown_and_ambiguous_names_are_left_out_and_named():
    found = HGNC.resolve(["NOTAGENE", "TP53", "age"])
    assert found.unknown == ["NOTAGENE", "age"]
    assert found.symbol == {"TP53": "TP53"}


def test_names_of_one_gene_are_found_together():
    assert HGNC.resolve(["TP53", "ENSG00000141510", "EGFR"]).duplicates == {"TP53": ["ENSG00000141510", "TP53"]}


@given(st.lists(st.sampled_from([*HGNC.symbols[:500], "HER2", "MLL2", "2-Sep", "NOTAGENE"]), max_size=30), st.randoms())
@settings(deadline=None, max_examples=50)
def test_order_never_matters(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert HGNC.resolve(names) == HGNC.resolve(shuffled)


def test_the_table_names_source_licence_and_date():
    assert HGNC.version.startswith("HGNC 20")
    assert HGNC.header["licence"] == "CC0 1.0" and "genenames.org" in HGNC.header["source"]
    assert len(HGNC.symbols) > 40_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("# licence", "# note"), ("licence", "head")),
        (lambda text: text.replace("\tensembl\t", "\tid\t"), ("columns", "ensembl")),
        (lambda text: text.replace("\nA1BG\t", "\n\t"), ("symbol", "missing")),
        (lambda text: text.replace("\nA1CF\t", "\nA1BG\t"), ("symbol", "A1BG")),
    ],
)
def test_a_damaged_vocabulary_is_one_line(change, words, tmp_path):
    path = tmp_path / "genes.tsv.gz"
    lines = gzip.decompress(SHIPPED.read_bytes()).decode().splitlines()[:200]
    path.write_bytes(gzip.compress(change("\n".join(lines)).encode()))
    with pytest.raises(DataError, match=r"genes\.tsv\.gz") as caught:
        GeneVocabulary.read(path)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
