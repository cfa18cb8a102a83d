"""Genes of a request are named, and their unit held, as in data preparation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.modalities.genomics.request import GenesForm

FORM = GenesForm(genes=["TP53", "EGFR", "ERBB2", "KMT2A"], unit="log2_tpm")


def read(content: dict[str, Any], form: GenesForm = FORM) -> tuple[dict[str, Any], list[str]]:
    warnings: list[str] = []
    raw = form.read(content, "genomics", warnings)
    known = {
        channel: {gene: float(value) for gene, value in zip(form.genes, values, strict=True) if not np.isnan(value)}
        for channel, values in raw.items()
    }
    return {channel: values for channel, values in known.items() if values}, warnings


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("ERBB2", "ERBB2"),
        ("HER2", "ERBB2"),  # alias
        ("MLL", "KMT2A"),  # former symbol
        ("ENSG00000141510", "TP53"),
        ("ENSG00000141510.19", "TP53"),
        ("HGNC:11998", "TP53"),
        ("tp53", "TP53"),
        ("TP53|7157", "TP53"),
    ],
)
def test_a_gene_is_known_by_its_other_names(name: str, gene: str):
    found, warnings = read({"unit": "log2_tpm", "expression": {name: 2.5}})
    assert found == {"expression": {gene: 2.5}}
    assert bool(warnings) == (name in ("HER2", "MLL", "tp53"))


def test_several_names_of_a_gene_become_one_as_in_preparation():
    twice = {"TP53": 4.0, "ENSG00000141510": 2.0}
    assert read({"unit": "log2_tpm", "expression": twice})[0] == {"expression": {"TP53": 4.0}}
    linear = GenesForm(genes=FORM.genes, unit="tpm")
    assert read({"unit": "tpm", "expression": twice}, linear)[0] == {"expression": {"TP53": 6.0}}
    assert read({"mutations": {"TP53": 0, "ENSG00000141510": 1}})[0] == {"mutations": {"TP53": 1.0}}


def test_a_name_longer_than_any_genes_does_not_come_back_whole():
    with pytest.raises(UserError, match=r"genomics\.mutations\.X+\.\.\.: a name of 201 characters") as refused:
        read({"mutations": {"TP53": 1, "X" * 201: 1}})
    assert len(str(refused.value)) < 300
    _, warnings = read({"mutations": {"TP53": 1, "X" * 200: 1}})
    assert "X" * 200 in warnings[0]


def test_names_of_no_gene_and_genes_that_the_model_lacks_are_said():
    found, warnings = read({"mutations": {"TP53": 1, "KRAS": 1, "NOSUCHGENE": 1, "2-Sep": 1}})
    assert found == {"mutations": {"TP53": 1.0}}
    text = "\n".join(warnings)
    assert "NOSUCHGENE" in text and "spreadsheet made dates" in text
    assert "genomics: 2 genes unknown to the model were left out: KRAS, SEPTIN2" in text


REFUSED = {
    "negative counts": ({"unit": "counts", "expression": {"TP53": -1}}, "negative values cannot be counts"),
    "counts with fractions": ({"unit": "counts", "expression": {"TP53": 1.5}}, "counts are whole numbers"),
    "a logarithm too high": ({"unit": "log2_tpm", "expression": {"TP53": 7377}}, "values are too high for log2_tpm"),
    "one too high of a gene that the model lacks": (
        {"unit": "log2_tpm", "expression": {"TP53": 3, "KRAS": 7377}},
        "values are too high for log2_tpm",
    ),
    "counts of some genes": ({"unit": "counts", "expression": {"TP53": 3}}, "cannot be converted exactly"),
    "no unit": ({"unit": "furlong", "expression": {"TP53": 3}}, "genomics.unit: found 'furlong'; say the unit"),
    "a unit of nothing": ({"unit": 3, "mutations": {"TP53": 1}}, "genomics.unit: found 3; say the unit"),
    "copies beyond all": ({"copy_number": {"TP53": 1e30}}, "genomics.copy_number.TP53: found 1e+30; give copies"),
    "no gene": ({"mutations": {"asdf": 1}}, "no column is a gene"),
    "other genes": ({"mutations": {"KRAS": 1}}, "no measured gene is known to the model; it knows TP53"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_a_unit_that_the_values_belie_is_refused(content: dict[str, Any], words: str):
    with pytest.raises(UserError) as caught:
        read(content)
    assert str(caught.value).startswith("genomics") and words in str(caught.value)


def test_values_that_hardly_are_of_their_unit_are_warned_of():
    form = GenesForm(genes=[f"ZNF{number}" for number in range(1, 200)], unit="tpm")
    _, warnings = read({"unit": "tpm", "expression": dict.fromkeys(form.genes, 3.0)}, form)
    assert any("these look like logarithms" in line for line in warnings)


@pytest.mark.parametrize("lowest", [-1.0, -9.966], ids=["any", "that of an offset"])
def test_advice_is_for_who_sends_a_request_and_declares_no_cohort(lowest: float):
    with pytest.raises(UserError, match="send the unit that the values are in") as refused:
        read({"unit": "log2_tpm", "expression": {"TP53": lowest}})
    assert "cohort.yaml" not in str(refused.value) and "offset:" not in str(refused.value)


@given(
    st.dictionaries(st.sampled_from([*FORM.genes, "HER2", "MLL", "KRAS"]), st.floats(0, 30), min_size=1), st.randoms()
)
def test_order_of_names_does_not_matter(values: dict[str, float], random: Any):
    names = list(values)
    random.shuffle(names)
    both = []
    for content in (values, {name: values[name] for name in names}):
        try:
            both.append(read({"unit": "log2_tpm", "expression": content}))
        except UserError as error:
            both.append(str(error))
    assert both[0] == both[1]
