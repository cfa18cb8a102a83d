"""Sheets of samples: whose files and samples are whose names say nothing of patients."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foundation.data.genes import GeneVocabulary
from foundation.data.growth.sources import files_of_source
from foundation.data.problems import DataError, Problems
from foundation.modalities.genomics.expression import read_expression
from foundation.modalities.genomics.gene_source import GeneSource
from foundation.modalities.genomics.gene_tables import GeneTable
from foundation.modalities.genomics.mutations import read_mutations
from foundation.modalities.genomics.sample_sheet import SampleSheet

HGNC = GeneVocabulary.shipped()
STAR = "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\ttpm_unstranded\n"
ENDING = "rna_seq.augmented_star_gene_counts.tsv"
HEAD = "File ID\tFile Name\tData Category\tProject ID\tCase ID\tSample ID\tSample Type\n"
# Of the first case a metastasis, a primary tumour in two vials, and normal tissue.
DOWNLOADED = [
    ("u1", "TCGA-AA-0001", "TCGA-AA-0001-06A", "Metastatic", 1.5),
    ("u2", "TCGA-AA-0001", "TCGA-AA-0001-01B", "Primary Tumor", 2.5),
    ("u3", "TCGA-AA-0001", "TCGA-AA-0001-01A", "Primary Tumor", 3.5),
    ("u4", "TCGA-AA-0001", "TCGA-AA-0001-11A", "Solid Tissue Normal", 4.5),
    ("u5", "TCGA-AA-0002, TCGA-AA-0002", "TCGA-AA-0002-01A", "Primary Tumor", 5.5),
]


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """As gdc-client and the portal's sample sheet leave it: a folder a file, called by identifiers that name nobody."""
    rows = []
    for file, case, sample, kind, value in DOWNLOADED:
        (tmp_path / file).mkdir()
        (tmp_path / file / f"{file}.{ENDING}").write_text(f"{STAR}ENSG00000141510.18\tTP53\tcoding\t10\t{value}\n")
        rows.append(f"{file}\t{file}.{ENDING}\tTranscriptome Profiling\tTCGA-X\t{case}\t{sample}\t{kind}\n")
    (tmp_path / "gdc_sample_sheet.2026-01-01.tsv").write_text(HEAD + "".join(rows))
    return tmp_path


def expression(folder: Path, **declared: Any) -> GeneTable:
    file = f"*/*.{ENDING}"
    sheet = {"sample_sheet": "gdc_sample_sheet.2026-01-01.tsv"}
    source = GeneSource.model_validate({"file": file, "form": "gdc_star", **sheet, **declared})
    return read_expression(folder / file, "tpm", source, HGNC)


def test_a_download_of_the_genomic_data_commons_takes_its_primary_tumours(download: Path) -> None:
    read = expression(download, samples="primary")
    assert read.values["TP53"].to_dict() == {"TCGA-AA-0001": 3.5, "TCGA-AA-0002": 5.5}
    assert [(step.rule, step.count) for step in read.steps] == [
        ("samples other than those chosen (samples), left out", 3)
    ]


def test_samples_are_chosen_by_what_the_sheet_says_of_them(download: Path) -> None:
    sheet = {"file": "gdc_sample_sheet.2026-01-01.tsv", "where": {"Sample Type": ["Metastatic"]}}
    read = expression(download, sample_sheet=sheet)
    assert read.values["TP53"].to_dict() == {"TCGA-AA-0001": 1.5}
    assert [(step.rule, step.count) for step in read.steps] == [
        ("samples that are not Sample Type Metastatic, left out", 4)
    ]
    sheet["where"] = {"Sample Type": ["Primary"]}
    with pytest.raises(DataError, match="no file is of a sample that is kept"):
        expression(download, sample_sheet=sheet)


def test_several_samples_of_a_case_without_a_rule_are_refused(download: Path) -> None:
    with pytest.raises(DataError, match=r"patient stands twice \(TCGA-AA-0001\); .* say which under samples"):
        expression(download)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("u5\tu5.", "u5\tu6.", rf"1 samples are not in it, the first \(u5\.{ENDING[:9]}"),
        ("TCGA-AA-0002, TCGA-AA-0002", "TCGA-AA-0002, TCGA-AA-0003", "field Case ID: names no patient, or several"),
        (
            "Normal\n",
            f"Normal\nu9\tu3.{ENDING}\tx\tx\tC9\tC9-01A\tx\n",
            "field File Name: says twice whose a sample is",
        ),
        ("File Name", "Datei", "no sheet of a known portal .*say name: and patient:"),
    ],
)
def test_a_sheet_that_leaves_it_open_is_refused(old: str, new: str, words: str, download: Path) -> None:
    path = download / "gdc_sample_sheet.2026-01-01.tsv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=words):
        expression(download, samples="primary")


@pytest.mark.parametrize(("name", "patient"), [("sample", "patient"), ("patient", "sample"), ("name", "case")])
def test_a_sheet_calls_its_columns_as_it_likes(name: str, patient: str, tmp_path: Path) -> None:
    (tmp_path / "sheet.tsv").write_text(f"{name}\t{patient}\ns1\tP1\ns2\tP2\n")
    sheet = SampleSheet(file="sheet.tsv", name=name, patient=patient)
    owners = sheet.owners(tmp_path, pd.Series(["s2", "s1"], dtype=object), Problems())
    assert owners["patient"].tolist() == ["P2", "P1"]


def test_a_study_of_cbioportal_whose_samples_do_not_name_patients(tmp_path: Path) -> None:
    sheet = "#a\tb\tc\nPATIENT_ID\tSAMPLE_ID\tSAMPLE_TYPE\nP1\ts1\tPrimary\nP1\ts2\tMetastasis\nP2\ts3\tPrimary\n"
    (tmp_path / "data_clinical_sample.txt").write_text(sheet + "P3\ts4\tPrimary\n")
    (tmp_path / "data_mrna.txt").write_text("Hugo_Symbol\tEntrez_Gene_Id\ts2\ts1\ts3\nTP53\t7157\t1.5\t2.5\t4\n")
    maf = "Hugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode\n"
    (tmp_path / "m.txt").write_text(
        f"{maf}EGFR\tMissense_Mutation\ts2\nTP53\tMissense_Mutation\ts1\nTP53\tSilent\ts3\n"
    )
    (tmp_path / "cases.txt").write_text("case_list_ids: s1\ts2\ts3\ts4\n")
    declared = {"sample_sheet": {"file": "data_clinical_sample.txt", "where": {"SAMPLE_TYPE": ["Primary"]}}}
    source = GeneSource.model_validate({"file": "data_mrna.txt", "form": "cbioportal", **declared})
    read = read_expression(tmp_path / "data_mrna.txt", "log2_tpm", source, HGNC)
    assert read.values["TP53"].to_dict() == {"P1": 2.5, "P2": 4}
    source = GeneSource.model_validate({"file": "m.txt", "form": "maf", "sequenced": "cases.txt", **declared})
    changes = read_mutations(tmp_path / "m.txt", source, HGNC)
    assert changes.values.T.to_dict() == {"P1": {"TP53": 1}, "P2": {"TP53": 0}, "P3": {"TP53": 0}}
    assert [step.count for step in changes.steps] == [1]


def test_a_cohort_that_grows_compares_the_sheet_and_the_list_beside_the_variants(tmp_path: Path) -> None:
    for name in ("sub/m.txt", "sub/cases.txt", "sheet.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    more = {"sequenced": "cases.txt", "sample_sheet": "sheet.tsv"}
    source = GeneSource.model_validate({"file": "sub/m.txt", "form": "maf", **more})
    names = [path.relative_to(tmp_path).as_posix() for path in files_of_source(source, tmp_path)]
    assert names == ["sub/m.txt", "sub/cases.txt", "sheet.tsv"]


def test_a_sheet_and_a_pattern_are_two_ways() -> None:
    with pytest.raises(ValueError, match="give one of key_pattern and sample_sheet"):
        GeneSource.model_validate({"file": "x.csv", "sample_sheet": "s.tsv", "key_pattern": "(.*)"})
    with pytest.raises(ValueError, match="give both name and patient"):
        GeneSource.model_validate({"file": "x.csv", "sample_sheet": {"file": "s.tsv", "name": "File Name"}})
