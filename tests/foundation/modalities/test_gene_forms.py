"""Tables of genes in the forms of portals and pipelines, and the logarithms that they hold."""

import math

import anndata
import numpy as np
import pandas as pd
import pytest

from foundation.data.genes import GeneVocabulary
from foundation.data.problems import DataError
from foundation.data.units import convert
from foundation.modalities.genomics.expression import read_expression
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.mutations import read_copy_number, read_mutations

HGNC = GeneVocabulary.shipped()
SAMPLES = ["TCGA-AA-0001-01", "TCGA-AA-0001-06", "TCGA-AA-0002-01"]
PATTERN = r"(TCGA-\w\w-\w{4})"


def source(path, **more) -> GeneSource:
    return GeneSource.model_validate({"file": path.name, **more})


def notes(table) -> str:
    return "\n".join(map(str, table.notes))


@pytest.fixture
def cbioportal(tmp_path):
    path = tmp_path / "data_mrna.txt"
    head = "\t".join(["Hugo_Symbol", "Entrez_Gene_Id", *SAMPLES])
    path.write_text(f"{head}\nTP53\t7157\t1.5\t2\tNA\nEGFR\t1956\t0.5\t3\t4.25\n\t546\t1\t1\t1\n")
    return path


def test_cbioportals_tables_are_read_by_name(cbioportal):
    declared = source(cbioportal, form="cbioportal", key_pattern=PATTERN, samples="primary")
    found = read_expression(cbioportal, "log2_tpm", declared, HGNC)
    assert found.values.loc["TCGA-AA-0001"].to_dict() == {"EGFR": 0.5, "TP53": 1.5}
    assert found.values.loc["TCGA-AA-0002", "EGFR"] == 4.25 and np.isnan(found.values.loc["TCGA-AA-0002", "TP53"])
    assert "1 columns that hold no values of genes are left out: Entrez_Gene_Id" in notes(found)
    assert "row 4, field Hugo_Symbol: 1 rows without a gene's name are left out" in notes(found)


def test_several_samples_without_a_rule_are_refused_with_what_to_write(cbioportal):
    declared = source(cbioportal, form="cbioportal", key_pattern=PATTERN)
    with pytest.raises(DataError, match="patient stands twice .*say which under samples"):
        read_expression(cbioportal, "log2_tpm", declared, HGNC)
    equal = source(cbioportal, form="cbioportal", key_pattern=PATTERN, samples=["-0"])
    with pytest.raises(DataError, match="two samples of TCGA-AA-0001 are equally good"):
        read_expression(cbioportal, "log2_tpm", equal, HGNC)


@pytest.mark.parametrize("name", ["e.gct", "e.txt"])
def test_a_gct_file_says_which_columns_describe_genes(tmp_path, name):
    path = tmp_path / name
    path.write_text("#1.2\n2\t2\nName\tDescription\ta\tb\nTP53\tna\t1.5\t2\nEGFR\tna\t0.5\t4\n")
    found = read_expression(path, "tpm", source(path, form="gct"), HGNC)
    assert found.values.to_dict() == {"EGFR": {"a": 0.5, "b": 4}, "TP53": {"a": 1.5, "b": 2}}
    path.write_text("#1.3\n2\t2\t1\t1\nid\tnote\ta\tb\ntissue\tna\tlung\tskin\nTP53\tx\t1.5\t2\nEGFR\ty\t0.5\t4\n")
    again = read_expression(path, "tpm", source(path, form="gct"), HGNC)
    pd.testing.assert_frame_equal(again.values, found.values)


def test_featurecounts_leaves_out_positions_and_the_comment(tmp_path):
    path = tmp_path / "counts.txt"
    columns = "Geneid\tChr\tStart\tEnd\tStrand\tLength\ta"
    path.write_text(f"# Program:featureCounts v2.0.1; Command:x\n{columns}\nTP53\tchr1;chr1\t1;5\t4;9\t+;+\t8\t12\n")
    found = read_expression(path, "counts", source(path, form="featurecounts"), HGNC)
    assert found.values.to_dict() == {"TP53": {"a": 12}}
    assert "5 columns that hold no values of genes are left out: Chr, Start, End, Strand, Length" in notes(found)


def test_gdc_star_files_hold_a_patient_each(tmp_path):
    head = (
        "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\ttpm_unstranded\nN_unmapped\t\t\t100\t\n"
    )
    for patient, value in (("P1", 1.5), ("P2", 2.5)):
        (tmp_path / f"{patient}.tsv").write_text(f"{head}ENSG00000141510.18\tTP53\tprotein_coding\t10\t{value}\n")
    path = tmp_path / "*.tsv"
    found = read_expression(path, "tpm", source(path, form="gdc_star"), HGNC)
    assert found.values["TP53"].to_dict() == {"P1": 1.5, "P2": 2.5}
    with pytest.raises(DataError, match="holds one patient, .*say form: gdc_star"):
        read_expression(tmp_path / "P1.tsv", "tpm", source(path, genes_in="rows", key="gene_name"), HGNC)


def test_a_text_column_that_is_no_gene_is_left_out_and_named(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("patient_id,STUDY,TP53\na,tcga,1.5\n")
    found = read_expression(path, "tpm", source(path), HGNC)
    assert found.values.to_dict() == {"TP53": {"a": 1.5}} and "left out: STUDY" in notes(found)


def test_missing_words_are_those_declared(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("patient_id,TP53\na,1.5\nb,NA\n")
    with pytest.raises(DataError, match=r"text where numbers belong, patient b \(NA\); .*say missing: \['NA'\]"):
        read_expression(path, "tpm", source(path), HGNC)
    found = read_expression(path, "tpm", source(path, missing=["NA"]), HGNC).values["TP53"]
    assert found["a"] == 1.5 and np.isnan(found["b"])


def test_a_matrix_whose_points_may_be_thousands_is_refused(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("patient_id,TP53,EGFR\na,1.250,3\nb,12,4.000\n")
    with pytest.raises(DataError, match=r"may be thousands or a fraction \(1\.250\)"):
        read_expression(path, "tpm", source(path), HGNC)
    thousands = source(path, decimal=",", thousands=".")
    assert read_expression(path, "tpm", thousands, HGNC).values["TP53"].tolist() == [1250, 12]
    assert read_expression(path, "tpm", source(path, decimal="."), HGNC).values["TP53"].tolist() == [1.25, 12]


def test_copy_number_takes_the_level_between(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("Hugo_Symbol\tEntrez_Gene_Id\ta\nTP53\t7157\t-1.5\n")
    assert read_copy_number(path, source(path, form="cbioportal"), HGNC).values.to_dict() == {"TP53": {"a": -1.5}}


MAF = "#version 2.4\nHugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode\n"


def test_the_list_of_those_sequenced_makes_zeros(tmp_path):
    path = tmp_path / "data_mutations.txt"
    path.write_text(f'{MAF}TP53\t"Missense_Mutation"\tP0\nEGFR\tmissense_mutation\tP1\n')
    (tmp_path / "sequenced.txt").write_text("P0\nP1\nP2\n")
    found = read_mutations(path, source(path, sequenced="sequenced.txt"), HGNC).values
    assert found.T.to_dict() == {
        "P0": {"EGFR": 0, "TP53": 1},
        "P1": {"EGFR": 1, "TP53": 0},
        "P2": {"EGFR": 0, "TP53": 0},
    }
    (tmp_path / "case_list.txt").write_text("cancer_study_identifier: x\ncase_list_ids: P0\tP1\tP2\n")
    again = read_mutations(path, source(path, sequenced="case_list.txt"), HGNC).values
    pd.testing.assert_frame_equal(again, found)


def test_classes_of_other_annotators_are_declared(tmp_path):
    path = tmp_path / "m.maf"
    rows = "TP53\tStart_Codon_SNP\tP0\nEGFR\tDe_novo_Start_OutOfFrame\tP0\nPTEN\tTargeted_Region\tP0\n"
    path.write_text(MAF + rows)
    lines = notes(read_mutations(path, source(path), HGNC))
    assert "row 4, field Variant_Classification: no class of the MAF format (De_novo_Start_OutOfFrame); say" in lines
    assert "row 5, field Variant_Classification: no class of the MAF format (Targeted_Region); say classes" in lines
    declared = source(path, classes={"De_novo_Start_OutOfFrame": 1, "Targeted_Region": 0})
    found = read_mutations(path, declared, HGNC)
    assert found.values.T.to_dict() == {"P0": {"EGFR": 1, "PTEN": 0, "TP53": 1}} and found.notes == []


def test_a_word_that_means_unknown_is_no_variant(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("patient_id,TP53\na,R175H\nb,NA\n")
    with pytest.raises(DataError, match=r"field TP53: no variant by its name \(NA\); say missing"):
        read_mutations(path, source(path, wild_type=["WT"]), HGNC)


@pytest.mark.parametrize(
    ("unit", "offset", "value"),
    [
        ("ln_tpm", 1, math.log(8)),
        ("log10_tpm", 1, math.log10(8)),
        ("log2_tpm", 0.001, math.log2(7.001)),
        ("tpm", 1, 7),
    ],
)
def test_logarithms_of_other_bases_and_offsets_become_the_cohorts(tmp_path, unit, offset, value):
    converted = convert(pd.DataFrame({"TP53": [value]}), unit, "log2_tpm", tmp_path, offset)
    assert converted["TP53"].tolist() == [pytest.approx(3, abs=1e-12)]


def test_values_of_an_offset_are_told_and_read(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(f"patient_id,TP53,EGFR\na,{math.log2(0.001):.4f},3.5\n")
    found = read_expression(path, "log2_tpm", source(path), HGNC)
    assert "say offset: 0.001" in notes(found)
    assert notes(read_expression(path, "log2_tpm", source(path, offset=0.001), HGNC)) == ""


def adata(path, **uns):
    values = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    data = anndata.AnnData(values - 1, pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["TP53", "EGFR"]))
    data.raw = anndata.AnnData(values, pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["TP53", "EGFR"]))
    data.uns.update(uns)
    data.write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("base", "unit", "advice"),
    [({}, "log2_cpm", "ln_cpm"), ({"base": 10.0}, "ln_cpm", "log10_cpm"), ({"base": 2.0}, "cpm", "log2_cpm")],
)
def test_what_anndata_says_of_its_logarithm_is_held_against_the_unit(tmp_path, base, unit, advice):
    path = adata(tmp_path / "e.h5ad", log1p=base)
    with pytest.raises(DataError, match=f"field uns.log1p: .* say unit: {advice}"):
        read_expression(path, unit, source(path, layer="raw"), HGNC)
    assert read_expression(path, advice, source(path, layer="raw"), HGNC).values.loc["a"].tolist() == [2, 1]


@pytest.mark.parametrize("layer", [None, "raw"])
def test_counts_beside_a_logarithm_in_another_layer_are_counts(tmp_path, layer):
    """scanpy's `log1p` notes itself once a file, whichever matrix it was applied to."""
    counts, genes = np.array([[10.0, 0.0], [3.0, 7.0]], np.float32), pd.DataFrame(index=["TP53", "EGFR"])
    data = anndata.AnnData(counts if layer is None else np.log1p(counts), pd.DataFrame(index=["a", "b"]), genes)
    data.raw = anndata.AnnData(counts, pd.DataFrame(index=["a", "b"]), genes)
    data.layers["lognorm"] = np.log1p(counts)
    data.uns["log1p"] = {"base": None}
    data.write_h5ad(tmp_path / "e.h5ad")
    found = read_expression(tmp_path / "e.h5ad", "counts", source(tmp_path / "e.h5ad", layer=layer), HGNC)
    assert found.values.T.to_dict() == {"a": {"EGFR": 0, "TP53": 10}, "b": {"EGFR": 7, "TP53": 3}}
    wrong = read_expression(tmp_path / "e.h5ad", "counts", source(tmp_path / "e.h5ad", layer="lognorm"), HGNC)
    assert "counts are whole numbers, these are not" in notes(wrong)
    logs = read_expression(tmp_path / "e.h5ad", "ln_counts", source(tmp_path / "e.h5ad", layer="lognorm"), HGNC)
    assert logs.values.loc["a", "TP53"] == pytest.approx(math.log(11))


def test_scaled_values_are_told_of_raw(tmp_path):
    path = adata(tmp_path / "e.h5ad")
    assert "say layer: raw, or unit: zscore" in notes(read_expression(path, "log2_cpm", source(path), HGNC))


def test_a_value_that_no_zscore_has_is_told_unless_clipped(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("patient_id,TP53,EGFR\na,7377,-1\n")
    assert "1 values beyond 100, the farthest 7377" in notes(read_expression(path, "zscore", source(path), HGNC))
    assert notes(read_expression(path, "zscore", source(path, clip=10), HGNC)) == ""
