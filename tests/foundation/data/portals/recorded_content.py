"""What the recorded portals hold: slides, scans, expression and mutations of six patients."""

import gzip
import hashlib
import io
import uuid
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foundation.data.genes import SHIPPED
from tests.foundation.scan_files import write_series
from tests.foundation.slide_files import tissue, write_tiff

PATIENTS = [f"TCGA-{site}-000{number}" for number, site in enumerate(["XA", "XA", "XA", "XB", "XB", "XB"])]
GENES = {7157: "TP53", 1956: "EGFR", 3417: "IDH1"}
_MAF = ("Hugo_Symbol", "Variant_Classification", "Tumor_Sample_Barcode")


@dataclass
class Content:
    """What the portals hold.

    Attributes:
        files: by GDC id.
        hits: what `/files` and `/cases` list, by endpoint.
        archives: ZIP by series.
        series: what TCIA lists.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    hits: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)
    series: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def record(cls, folder: Path) -> "Content":
        """Slides and scans are drawn in the folder first."""
        content = cls(hits={"cases": [_case(patient) for patient in PATIENTS], "files": []})
        for index, patient in enumerate(PATIENTS):
            slide = write_tiff(folder / f"{patient}-01Z-00-DX1.svs", tissue(768, 768, seed=index), mpp=0.5)
            content._add(patient, "Slide Image", slide.name, slide.read_bytes(), "Diagnostic Slide")
            if index < 5:
                name = f"{index}.rna_seq.augmented_star_gene_counts.tsv"
                content._add(patient, "Gene Expression Quantification", name, _counts(index), workflow="STAR - Counts")
                content._add(patient, "Masked Somatic Mutation", f"{index}.maf.gz", _maf(patient, index))
        for index, patient in enumerate(PATIENTS[:2]):
            uid = f"1.2.3.{index}"
            write_series(folder / uid)
            content.archives[uid] = _zip(folder / uid)
            size = sum(path.stat().st_size for path in (folder / uid).iterdir())
            listed = {"SeriesInstanceUID": uid, "PatientID": patient, "Modality": "CT", "ImageCount": 6}
            content.series.append(listed | {"FileSize": size, "Collection": "TCGA-LUAD"})
        return content

    def relist(self, hit: dict[str, Any]) -> None:
        """Lists a file with the size and digest that it has now."""
        content = self.files[hit["id"]]
        hit |= {"file_size": len(content), "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest()}

    def _add(self, patient: str, kind: str, name: str, content: bytes, strategy: str = "", workflow: str = "") -> None:
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        self.files[key] = content
        sample = {"sample_type": "Primary Tumor", "submitter_id": f"{patient}-01A"}
        hit = {
            "id": key,
            "file_name": name,
            "access": "open",
            "data_type": kind,
            "experimental_strategy": strategy,
            "analysis": {"workflow_type": workflow},
            "cases": [{"submitter_id": patient, "samples": [sample]}],
        }
        self.relist(hit)
        self.hits["files"].append(hit)


def _case(patient: str) -> dict[str, Any]:
    number = int(patient[-1])
    dead = number % 2
    return {
        "submitter_id": patient,
        "demographic": {
            "vital_status": "Dead" if dead else "Alive",
            "days_to_death": 100 + number if dead else None,
            "gender": "female" if number < 3 else "male",
            "race": "not reported" if number == 0 else "white",
            "age_at_index": 60 + number,
        },
        "diagnoses": [
            {
                "days_to_last_follow_up": 400 + number,
                "ajcc_pathologic_stage": f"Stage {'I' * (1 + number % 3)}",
                "primary_diagnosis": "Adenocarcinoma, NOS",
                "classification_of_tumor": "primary",
            }
        ],
        "follow_ups": [{"days_to_follow_up": 500 + number}],
        "tissue_source_site": {
            "code": patient[5:7],
            "name": {"XA": "North Clinic", "XB": "South Clinic"}[patient[5:7]],
        },
    }


def _counts(index: int) -> bytes:
    """A STAR count file of 300 genes whose TPM sum to a million."""
    table = pd.read_csv(SHIPPED, sep="\t", comment="#").dropna(subset="ensembl")
    table = pd.concat([table[table["symbol"].isin(GENES.values())], table.iloc[:297]])[["ensembl", "symbol"]]
    values = np.random.default_rng(index).gamma(1, 1, len(table))
    values *= 1e6 / values.sum()
    lines = ["# gene-model: GENCODE v36", "gene_id\tgene_name\tunstranded\ttpm_unstranded", "N_unmapped\t\t7\t"]
    lines += [f"{key}.3\t{name}\t1\t{value:.4f}" for (key, name), value in zip(table.to_numpy(), values, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def _maf(patient: str, index: int) -> bytes:
    rows = [("TP53", "Missense_Mutation"), ("EGFR", "Silent"), ("IDH1", "Nonsense_Mutation")][: index % 4]
    lines = ["#version gdc-1.0.0", "\t".join(_MAF)]
    lines += ["\t".join([*row, f"{patient}-01A-11D-0001-08"]) for row in rows]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    digests = ["File,MD5"]
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
            digests.append(f"{path.name},{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}")
        archive.writestr("md5hashes.csv", "\n".join(digests) + "\n")
    return buffer.getvalue()
