"""A small sound cohort of every form that can be declared by name, and of those that need none."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.foundation.data.test_event_tables import COLUMNS, OMOP
from tests.foundation.data.test_landmarks import FHIR
from tests.foundation.data.test_portal_forms import features, scan
from tests.foundation.visium_files import write_anndata, write_tables, write_visium

SURVIVAL = {"event": "os_event", "time": "os_days"}
AGE = [{"name": "age", "kind": "continuous", "center": 60, "scale": 10}]
PATIENTS = "patient_id,y,os_event,os_days\nP1,0,1,100\nP2,1,0,200\n"
GENES = "Hugo_Symbol\tEntrez_Gene_Id\tP1\tP2\nTP53\t7157\t5\t7\nEGFR\t1956\t1\t2\n"


class Form(NamedTuple):
    """One form: what lies in the hospital's folder, and how it is declared."""

    files: dict[str, str]
    sources: dict[str, Any]
    dictionary: Mapping[str, Any] = MappingProxyType({})
    write: Callable[[Path], object] | None = None


def _expression(name: str, text: str, unit: str = "counts", **declared: Any) -> Form:
    source = {"file": name, "unit": unit, **declared}
    return Form({"patients.csv": PATIENTS, name: text}, {"expression": source}, {"expression_unit": unit})


def _clinical(form: str, name: str, text: str) -> Form:
    source = {"file": name, "form": form}
    return Form({name: text}, {"patients": source, "record": source}, {"record": AGE, "survival": SURVIVAL})


def _images(source: dict[str, Any], write: Callable[[Path], object], **dictionary: Any) -> Form:
    return Form({"patients.csv": PATIENTS}, {"pathology": source}, {"labels": ["y"], **dictionary}, write)


def _scans(root: Path) -> None:
    for number in (1, 2):
        scan(root / "imagesTr" / f"P{number}_0000.nii.gz", number)


def _bids(root: Path) -> None:
    for number in (1, 2):
        scan(root / f"sub-P{number}" / "anat" / f"sub-P{number}_T1w.nii.gz", number)


def _features(root: Path, folder: str) -> None:
    for number in (1, 2):
        features(root / folder / f"P{number}.h5")


STAR = "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\ttpm_unstranded\nTP53\tTP53\tx\t3\t1.5\n"
MAF = "Hugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode\nTP53\tMissense_Mutation\tP1\nEGFR\tSilent\tP2\n"
CDR = "bcr_patient_barcode,age_at_initial_pathologic_diagnosis,gender,OS,OS.time\nP1,44,MALE,1,358\nP2,50,MALE,0,9\n"
_STUDY = ["#a\tb\tc\td\te", "PATIENT_ID\tAGE\tSEX\tOS_STATUS\tOS_MONTHS", "P1\t61\tMale\t1:DECEASED\t10"]
STUDY = "\n".join([*_STUDY, "P2\t5\tMale\t0:LIVING\t2", ""])
COUNTS = "# x\nGeneid\tChr\tStart\tEnd\tStrand\tLength\tP1\tP2\nTP53\tchr1\t1\t4\t+\t8\t12\t3\n"
SYNTHEA = {
    "csv/patients.csv": "Id,BIRTHDATE,DEATHDATE,GENDER\nP1,1950-01-01,,M\nP2,1960-01-01,2020-01-01,F\n",
    "csv/conditions.csv": "START,STOP,PATIENT,ENCOUNTER,CODE\n2010-01-01,,P1,e,1\n2011-01-01,,P2,e,1\n",
    "csv/observations.csv": "DATE,PATIENT,CODE,VALUE,UNITS,TYPE\n2012-01-01,P1,8480-6,120,mm[Hg],numeric\n",
}
_EVENTS = {"record": AGE, "survival": SURVIVAL}


def _events(tables: dict[str, str], columns: dict[str, Any], **source: str) -> Form:
    return Form(tables, {"patients": source, "record": {**source, "columns": columns}}, _EVENTS)


_AGE_AT = {"age": {"path": "patient.age_at"}}
FORMS: dict[str, Form] = {
    "plain": Form(
        {"patients.csv": PATIENTS, "record.csv": "patient_id,age\nP1,60\nP2,61\n"}, {}, {"record": AGE, "labels": ["y"]}
    ),
    "reports": Form({"patients.csv": PATIENTS, "reports.csv": "patient_id,date,text\nP1,2020-01-01,a b\nP2,,c\n"}, {}),
    "tcga_cdr": _clinical("tcga_cdr", "cdr.csv", CDR),
    "cbioportal": _clinical("cbioportal", "data_clinical_patient.txt", STUDY),
    "cbioportal genes": _expression("data_mrna.txt", GENES, form="cbioportal"),
    "gct": _expression("e.gct", "#1.2\n2\t2\nName\tDescription\tP1\tP2\nTP53\tna\t1\t2\nEGFR\tna\t5\t4\n", form="gct"),
    "featurecounts": _expression("c.txt", COUNTS, form="featurecounts"),
    "gdc_star": Form(
        {"patients.csv": PATIENTS, "star/P1.tsv": STAR, "star/P2.tsv": STAR.replace("1.5", "2.5")},
        {"expression": {"file": "star/*.tsv", "form": "gdc_star"}},
        {"expression_unit": "tpm"},
    ),
    "gistic": Form(
        {"patients.csv": PATIENTS, "g.txt": "Gene Symbol\tLocus ID\tCytoband\tP1\tP2\nTP53\t1\t17p\t-1\t2\n"},
        {"copy_number": {"file": "g.txt", "form": "gistic"}},
    ),
    "xena": _expression("x.tsv", "sample\tP1\tP2\nTP53\t1.5\t2\nEGFR\t3\t4\n", "log2_tpm", form="xena"),
    "maf": Form(
        {"patients.csv": PATIENTS, "mutations.maf": MAF}, {"mutations": {"file": "mutations.maf", "form": "maf"}}
    ),
    "omop": _events(
        {f"cdm/{name}": text for name, text in OMOP.items()},
        {"age": COLUMNS["age"]},
        files="cdm/*",
        form="omop",
        index="omop|4112853",
    ),
    "synthea": _events(SYNTHEA, _AGE_AT, files="csv/*", form="synthea", index="http://snomed.info/sct|1"),
    "fhir": _events({"export.json": json.dumps(FHIR)}, _AGE_AT, files="*.json", index="s|cancer"),
    "bids": Form(
        {"participants.tsv": "participant_id\tage\ty\nsub-P1\t61\t1\nsub-P2\tn/a\t0\n"},
        {"patients": {"form": "bids", "columns": {"y": "y"}}, "radiology": {"form": "bids"}},
        {"labels": ["y"]},
        _bids,
    ),
    "nnunet": Form({"patients.csv": PATIENTS}, {"radiology": {"form": "nnunet"}}, {"labels": ["y"]}, _scans),
    "clam": _images({"form": "clam"}, lambda root: _features(root, "feats/h5_files")),
    "trident": _images({"form": "trident"}, lambda root: _features(root, "20x_256px_0px_overlap/features_uni")),
    "visium": _images(
        {"form": "visium", "tile": 32},
        lambda root: [write_visium(root / f"P{number}", number) for number in (1, 2)],
        genes=["TP53", "EGFR"],
    ),
    "spots of AnnData": _images(
        {"files": "st/*.h5ad", "kind": "spots", "tile": 32},
        lambda root: [write_anndata(root / "st" / f"P{number}.h5ad", number) for number in (1, 2)],
        genes=["TP53", "EGFR"],
    ),
    "spots of tables": _images(
        {"files": "P*/counts.csv", "kind": "spots", "tile": 32, "spots": {"picture": "*.png", "diameter": 10}},
        lambda root: [write_tables(root / f"P{number}", number) for number in (1, 2)],
        genes=["TP53", "EGFR"],
    ),
}


def write_form(name: str, folder: Path) -> dict[str, Any]:
    """The hospital's folder `a` of a form; the declaration."""
    form = FORMS[name]
    for file, text in form.files.items():
        (folder / "a" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "a" / file).write_text(text)
    if form.write is not None:
        form.write(folder / "a")
    facts = {"name": "x", "synthetic": True, "description": "x", "hospitals": ["a"]}
    return {**facts, "sources": form.sources, "dictionary": dict(form.dictionary)}
