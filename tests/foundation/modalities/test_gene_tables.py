"""Expression, mutations and copy number from the files that people have."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from foundation.data.genes import GeneVocabulary
from foundation.data.problems import DataError
from foundation.modalities.genomics.expression import read_expression
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.mutations import read_copy_number, read_mutations
from foundation.modalities.genomics.panel import align, union

HGNC = GeneVocabulary.shipped()
LEVELS = pd.DataFrame({"TP53": [1.0, 2.0], "EGFR": [3.0, np.nan]}, pd.Index(["a", "b"], name="patient_id"))


def source(file: str, **more: object) -> GeneSource:
    return GeneSource.model_validate({"file": file, **more})


def expression(path, unit="tpm", **more):
    return read_expression(path, unit, source(path.name, **more), HGNC)


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "csv.gz", "rows.csv", "h5ad", "sparse.h5ad", "layer.h5ad"])
def test_every_form_holds_the_same(form, tmp_path):
    path, more = tmp_path / f"expression.{form}", {}
    if form.endswith("h5ad"):
        full = LEVELS.fillna(0) if form == "sparse.h5ad" else LEVELS
        matrix = full.to_numpy(np.float32)
        data = anndata.AnnData(scipy.sparse.csr_matrix(matrix) if form == "sparse.h5ad" else matrix)
        data.obs_names, data.var_names = full.index, full.columns
        if form == "layer.h5ad":
            data.layers["tpm"], data.X, more = data.X.copy(), np.zeros_like(matrix), {"layer": "tpm"}
        data.write_h5ad(path)
    elif form == "parquet":
        LEVELS.reset_index().to_parquet(path)
    elif form == "rows.csv":
        LEVELS.T.rename_axis("gene").to_csv(path)
        more = {"genes_in": "rows", "key": "gene"}
    else:
        LEVELS.to_csv(path, sep="\t" if form == "tsv" else ",")
    found = expression(path, **more).values
    expected = LEVELS.fillna(0) if form == "sparse.h5ad" else LEVELS
    pd.testing.assert_frame_equal(found, expected[["EGFR", "TP53"]].astype(np.float32), check_names=False)


def test_an_anndata_key_and_its_pattern_name_the_patient(tmp_path):
    data = anndata.AnnData(np.ones((2, 1), np.float32))
    data.obs_names, data.var_names = ["s1", "s2"], ["TP53"]
    data.obs["case"] = ["TCGA-AA-0001-01A", "TCGA-AA-0002-01A"]
    data.write_h5ad(tmp_path / "e.h5ad")
    found = expression(tmp_path / "e.h5ad", key="case", key_pattern=r"(TCGA-\w\w-\d{4})")
    assert found.values.index.tolist() == ["TCGA-AA-0001", "TCGA-AA-0002"]


def test_linear_values_of_one_gene_are_added_and_logarithms_are_not(tmp_path):
    table = pd.DataFrame({"ERBB2": [1.0, np.nan], "HER2": [2.0, 5.0]}, pd.Index(["a", "b"], name="patient_id"))
    table.to_csv(tmp_path / "e.csv")
    assert expression(tmp_path / "e.csv").values["ERBB2"].tolist() == [3, 5]
    kept = expression(tmp_path / "e.csv", "log2_tpm").values["ERBB2"]
    assert kept["a"] == 1 and np.isnan(kept["b"]), "the approved symbol's own column"


def test_what_became_of_names_is_said(tmp_path):
    columns = ["TP53", "MLL2", "NOTAGENE", "ENSG00000141510.1"]
    pd.DataFrame([[1.0, 2, 3, 4]], pd.Index(["a"], name="patient_id"), columns).to_csv(tmp_path / "e.csv")
    found = expression(tmp_path / "e.csv")
    said = "\n".join(map(str, found.notes))
    assert found.values.loc["a"].to_dict() == {"KMT2D": 2, "TP53": 5}
    assert "MLL2 is KMT2D" in said
    assert "ENSG00000141510.1 and TP53 are TP53" in said
    assert "1 names of no gene of HGNC" in said and "NOTAGENE" in said
    assert all(note.severity == "warning" for note in found.notes)


def test_order_of_columns_and_rows_never_matters(tmp_path):
    LEVELS.to_csv(tmp_path / "one.csv")
    LEVELS.iloc[::-1, ::-1].to_csv(tmp_path / "other.csv")
    one, other = (expression(tmp_path / name).values for name in ("one.csv", "other.csv"))
    pd.testing.assert_frame_equal(one, other.loc[one.index])


MAF = """#version 2.4
Hugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode
TP53\tMissense_Mutation\tTCGA-AA-0001-01A
TP53\tSilent\tTCGA-AA-0002-01A
MLL2\tNonsense_Mutation\tTCGA-AA-0002-01A
Unknown\tIGR\tTCGA-AA-0002-01A
"""


def test_a_maf_says_changed_or_looked_for_and_not_found(tmp_path):
    (tmp_path / "mutations.maf").write_text(MAF)
    found = read_mutations(tmp_path / "mutations.maf", source("mutations.maf"), HGNC).values
    assert found.loc["TCGA-AA-0001"].to_dict() == {"KMT2D": 0, "TP53": 1}
    assert found.loc["TCGA-AA-0002"].to_dict() == {"KMT2D": 1, "TP53": 0}, "a silent change changes no protein"


def test_calls_in_words_know_wild_type_from_not_sequenced(tmp_path):
    (tmp_path / "m.csv").write_text("patient_id,TP53,EGFR\na,R175H,WT\nb,NS,\n")
    found = read_mutations(tmp_path / "m.csv", source("m.csv", wild_type=["WT"], missing=["NS"]), HGNC).values
    assert found.loc["a"].to_dict() == {"EGFR": 0, "TP53": 1}
    assert found.loc["b"].isna().all()


def test_copy_number_is_levels_or_declared_ratios(tmp_path):
    (tmp_path / "c.csv").write_text("patient_id,TP53\na,-2\nb,\n")
    assert read_copy_number(tmp_path / "c.csv", source("c.csv"), HGNC).values["TP53"].iloc[0] == -2
    (tmp_path / "r.csv").write_text("patient_id,TP53\na,0.37\n")
    with pytest.raises(DataError, match=r"r\.csv: field TP53: patient a is no whole number from -2 to 2 \(0\.37"):
        read_copy_number(tmp_path / "r.csv", source("r.csv"), HGNC)
    ratio = read_copy_number(tmp_path / "r.csv", source("r.csv", unit="log2_ratio"), HGNC)
    assert ratio.values["TP53"].tolist() == [pytest.approx(0.37)]


def test_the_cohorts_genes_stand_in_its_order_and_too_few_are_refused(tmp_path):
    path = tmp_path / "e.csv"
    aligned = align(LEVELS, ["EGFR", "PTEN", "TP53"], path, smallest=0.5)
    assert list(aligned.columns) == ["EGFR", "PTEN", "TP53"] and aligned["PTEN"].isna().all()
    with pytest.raises(DataError, match=r"67% of the cohort's 3 genes, 70% wanted; the first missing is \(PTEN\)"):
        align(LEVELS, ["EGFR", "PTEN", "TP53"], path, smallest=0.7)
    assert union([LEVELS, LEVELS.rename(columns={"EGFR": "PTEN"})]) == ["EGFR", "PTEN", "TP53"]
