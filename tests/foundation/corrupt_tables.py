"""Damage to the small cohort's tables, texts and declaration: what is done, and words of the one error it gives."""

import gzip
from functools import partial

from tests.foundation.cohort_files import GENES, edit
from tests.foundation.table_damage import (
    Damage,
    bytes_of,
    cell,
    cut_fhir,
    declared,
    dictionary,
    fhir,
    h5ad,
    instead,
    jsonl,
    maf,
    parquet,
    record_word,
    report_file,
    rows,
    saved_as,
    tsv,
    twice,
)

TABLES: dict[str, Damage] = {
    # the declaration
    "declaration missing": (lambda root: (root / "cohort.yaml").unlink(), "cohort.yaml: missing"),
    "declaration no yaml": (
        lambda root: (root / "cohort.yaml").write_text("a: [b"),
        "cohort.yaml: not readable as YAML",
    ),
    "declaration a list": (lambda root: (root / "cohort.yaml").write_text("- a\n"), "cohort.yaml: found a list"),
    "declaration misspelt": (record_word, "cohort.yaml: field "),
    "declaration of no hospital": (declared(hospitals=[]), "cohort.yaml: Value error, hospitals: none named"),
    "declaration of a hospital twice": (declared(hospitals=["north", "north"]), "'north' stands twice"),
    "declaration of a hospital without folder": (
        declared(hospitals=["north", "west"]),
        "west: field hospitals: no such",
    ),
    "declaration of an unknown unit": (
        declared(expression_units={"north": "rpkm"}),
        "cohort.yaml: field expression_units",
    ),
    "declaration of an outcome as input": (
        dictionary(record=[{"name": "vital_status", "kind": "continuous"}]),
        "cohort.yaml: field dictionary",
    ),
    "declaration of a bad pattern": (
        declared(sources={"patients": {"file": "patients.csv", "key_pattern": "("}}),
        "cohort.yaml: field sources.patients.key_pattern",
    ),
    "declaration hashes without key": (declared(deidentify={"ids": "hash"}), "ids: hash needs key"),
    "declaration of coverage above one": (declared(smallest_coverage=2), "cohort.yaml: field smallest_coverage"),
    # patients
    "patients missing": (lambda root: (root / "north" / "patients.csv").unlink(), "north/patients.csv: missing"),
    "patients empty file": (bytes_of("patients.csv", lambda _: b""), "north/patients.csv: empty file"),
    "patients header alone": (rows("patients", lambda table: table.iloc[:0]), "north/patients.csv: no"),
    "patients without id": (cell("patients", patient_id=""), "north/patients.csv: row 2, field patient_id: empty"),
    "patients twice": (rows("patients", twice), "row 26, field patient_id: patient stands in row 2 already (N000)"),
    "patients id column misnamed": (
        rows("patients", lambda table: table.rename(columns={"patient_id": "patientid"})),
        "north/patients.csv: field patient_id: no such column",
    ),
    "patients an excel workbook": (bytes_of("patients.csv", lambda _: b"PK\x03\x04rest"), "is an Excel workbook"),
    "patients of two forms": (
        lambda root: (root / "north" / "patients.tsv").write_text("patient_id\nN000\n"),
        "north: both patients.csv and patients.tsv",
    ),
    "patients of two hospitals": (
        lambda root: (
            [
                edit(root / "south" / f"{name}.csv", patient_id=lambda ids: ["N007", *ids[1:]])
                for name in ("patients", "record", "expression", "mutations", "copy_number")
            ]
            + [
                (root / "south" / place).rename(root / "south" / place.replace("S000", "N007"))
                for place in ("features/S000.h5", "reports/S000_2019-03-05.txt")
            ]
        ),
        "south/patients.csv: field patient_id: is also a patient of north (N007)",
    ),
    "label as text": (cell("patients", glioblastoma="yes"), "north/patients.csv: field glioblastoma: patient N000"),
    "event of two": (cell("patients", os_event="2"), "field os_event: patient N000 is no event (2"),
    "time below zero": (cell("patients", os_days="-4"), "field os_days: patient N000 ends before it begins (-4"),
    "time without event": (cell("patients", os_event=""), "field os_days: patient N000 has no os_event"),
    "time as text": (cell("patients", os_days="3 years"), "field os_days: patient N000 is no number (3 years)"),
    "date of no calendar": (
        cell("patients", diagnosis_date="31/02/2019"),
        "field diagnosis_date: patient N000 is no ISO",
    ),
    "date to come": (
        cell("patients", last_contact_date="2079-01-01"),
        "field last_contact_date: patient N000 is in the",
    ),
    "diagnosis before birth": (cell("patients", diagnosis_date="1950-01-01"), "patient N000 is before birth_date"),
    "contact before diagnosis": (cell("patients", last_contact_date="2018-01-01"), "N000 is before diagnosis_date"),
    # record
    "record of a stranger": (
        cell("record", patient_id="X1"),
        "north/record.csv: field patient_id: 1 patients who are not",
    ),
    "record twice": (
        rows("record", twice),
        "north/record.csv: row 26, field patient_id: patient stands in row 2 already",
    ),
    "record with an outcome": (
        rows("record", lambda table: table.assign(days_to_death="5")),
        "north/record.csv: field days_to_death: holds an outcome by its name",
    ),
    "record with text for a number": (
        cell("record", age="old"),
        "north/record.csv: field age: patient N000 is no number",
    ),
    "record with an impossible age": (cell("record", age="431"), "field age: patient N000 is no age in years (431"),
    "record infinite": (cell("record", age="inf"), "north/record.csv: field age: patient N000 is infinite"),
    "record with another category": (
        cell("record", sex="F"),
        "north/record.csv: field sex: 1 patients, the first N000",
    ),
    "record ragged": (bytes_of("record.csv", lambda content: content + b"N1,2,3,4,5\n"), "north/record.csv: row 26"),
    "record of another encoding": (
        bytes_of("record.csv", lambda content: content.replace(b"female", b"f\xe9male", 1)),
        "north/record.csv: ",
    ),
    "record parquet cut off": (saved_as("record", ".parquet", parquet, 0.6), "north/record.parquet: "),
    "record jsonl cut off": (saved_as("record", ".jsonl", jsonl, 0.6), "north/record.jsonl: "),
    "record in semicolons": (bytes_of("record.csv", lambda content: content.replace(b",", b";")), "north/record.csv: "),
    "fhir cut off": (cut_fhir, "north/fhir/all.json: "),
    "fhir without ids": (fhir(lambda people: people[0].pop("id")), "north/fhir/all.json: "),
    "fhir gender of no code": (fhir(lambda people: people[0].update(gender="F")), "north/fhir/all.json: "),
    "fhir with a patient twice": (
        fhir(lambda people: people.append({**people[0], "gender": "male"})),
        "north/fhir/all.json",
    ),
    # reports
    "reports without text": (
        rows("reports", lambda table: table.rename(columns={"text": "report"})),
        "north/reports.csv: field text: no column 'text'",
    ),
    "reports with a bad date": (
        cell("reports", date="spring"),
        "north/reports.csv: field date: no ISO date at patient N000",
    ),
    "reports cut off in a quote": (
        bytes_of("reports.csv", lambda content: content + b'N002,"Glioma of'),
        "north/reports.csv: ",
    ),
    "reports after death": (
        cell("reports", text="Autopsy: the patient died.", date="2024-05-05"),
        "north/reports.csv: field text: patient N000: outcome words in a report written on or after the event",
    ),
    "reports jsonl no json": (
        instead("reports.csv", "reports.jsonl", "{'patient_id': 1}\n"),
        "north/reports.jsonl: row 1",
    ),
    "report empty": (report_file("S000_2019-03-05.txt", ""), "south/reports/S000_2019-03-05.txt: empty file"),
    "report of word": (
        report_file("S000_2019-03-05.txt", b"\xd0\xcf\x11\xe0old"),
        "S000_2019-03-05.txt: is an old Excel",
    ),
    "report of a web page": (
        report_file("S000_2019-03-05.txt", "<html>login</html>"),
        "S000_2019-03-05.txt: is a web page",
    ),
    "report of rtf": (report_file("S000_2019-03-05.txt", r"{\rtf1 Glioma}"), "S000_2019-03-05.txt: marked-up text"),
    "report of nobody": (report_file("Z1.txt", "Glioma."), "south/reports/Z1.txt: names no patient"),
    # genes
    "expression with a patient twice": (
        rows("expression", twice),
        "north/expression.csv: field patient_id: patient stands",
    ),
    "expression of no gene": (
        rows("expression", lambda table: table.set_axis(["patient_id", *(f"probe_{n}" for n in range(10))], axis=1)),
        "north/expression.csv: no column is a gene",
    ),
    "expression as text": (
        cell("expression", TP53="high"),
        "north/expression.csv: field TP53: text where numbers belong",
    ),
    "expression infinite": (
        cell("expression", TP53="inf"),
        "north/expression.csv: field TP53: infinite at patient N000",
    ),
    "expression of too few genes": (
        rows("expression", lambda table: table.iloc[:, :4]),
        "north/expression.csv: field gene: 30% of the cohort's 10 genes",
    ),
    "expression negative": (
        cell("expression", TP53="-3"),
        "north/expression.csv: field unit: negative values cannot be",
    ),
    "expression too high for logarithms": (
        cell("expression", TP53="9000"),
        "field unit: values are too high for log2_tpm",
    ),
    "expression counts broken": (declared(expression_units={"north": "counts"}), "north/expression.csv: field unit: "),
    "expression not convertible": (
        declared(expression_units={"north": "zscore"}),
        "north/expression.csv: field unit: 'zscore' cannot be converted exactly to",
    ),
    "expression with an outcome": (
        rows("expression", lambda table: table.assign(os_days="4")),
        "north/expression.csv: field os_days: holds an outcome",
    ),
    "expression all zero": (
        rows("expression", lambda table: table.assign(**{gene: ["0", *table[gene][1:]] for gene in GENES})),
        "north/expression.csv: field expression: patient N000: every gene is zero",
    ),
    "expression constant": (
        rows("expression", lambda table: table.assign(**{gene: ["4.5", *table[gene][1:]] for gene in GENES})),
        "north/expression.csv: field expression: patient N000: every gene has one value",
    ),
    "expression of a stranger": (
        cell("expression", patient_id="X1"),
        "north/expression.csv: field patient_id: 1 patients",
    ),
    "expression tsv cut off": (saved_as("expression", ".tsv", tsv, 0.97), "north/expression.tsv: "),
    "expression parquet cut off": (saved_as("expression", ".parquet", parquet, 0.6), "north/expression.parquet: "),
    "expression parquet renamed": (
        saved_as("expression", ".parquet", lambda table, path: table.to_csv(path)),
        "north/expression.parquet: ",
    ),
    "expression h5ad cut off": (saved_as("expression", ".h5ad", h5ad, 0.6), "north/expression.h5ad: no AnnData file"),
    "expression h5ad without matrix": (saved_as("expression", ".h5ad", partial(h5ad, X=None)), "field X: no matrix X"),
    "expression h5ad of text": (
        instead("expression.csv", "expression.h5ad", "a,b\n"),
        "north/expression.h5ad: no AnnData",
    ),
    "expression gzip cut off": (
        instead("expression.csv", "expression.csv.gz", gzip.compress(b"patient_id,TP53\n" * 99)[:-20]),
        "north/expression.csv.gz: truncated or damaged gzip",
    ),
    "maf without barcodes": (
        instead("mutations.csv", "mutations.maf", "Hugo_Symbol\tVariant_Classification\nTP53\tSilent\n"),
        "north/mutations.maf: field Tumor_Sample_Barcode: no such column",
    ),
    "maf cut off": (maf("TP53\tMissense_Mutation\tN000", "EGFR\tSil"), "north/mutations.maf: row 3: 2 cells where"),
    "maf of no class": (maf("TP53\tMissense\tN000"), "row 2, field Variant_Classification: no class of the MAF format"),
    "maf of nobody": (
        maf("TP53\tSilent\t"),
        "north/mutations.maf: row 2, field Tumor_Sample_Barcode: names no patient",
    ),
    "maf of a stranger": (maf("TP53\tSilent\tX1"), "north/mutations.maf: field patient_id: 1 patients who are not"),
    "mutations of three": (
        cell("mutations", TP53="3"),
        "north/mutations.csv: field TP53: patient N000 is neither 0 nor 1",
    ),
    "mutations as words": (
        cell("mutations", TP53="R175H"),
        "north/mutations.csv: field TP53: text where numbers belong",
    ),
    "copy number of seven": (
        cell("copy_number", RB1="7"),
        "north/copy_number.csv: field RB1: patient N000 is no whole",
    ),
    "copy number halves": (
        cell("copy_number", RB1="0.5"),
        "north/copy_number.csv: field RB1: patient N000 is no whole",
    ),
    "copy number binary": (
        bytes_of("copy_number.csv", lambda content: content[:200] + b"\0"),
        "copy_number.csv: binary",
    ),
    # lists of images
    "images without file": (
        rows("pathology", lambda table: table.rename(columns={"file": "image"})),
        "north/pathology.csv: field file: no such column",
    ),
    "images with an empty file": (cell("pathology", file=""), "north/pathology.csv: field file: empty at patient N000"),
    "images of a stranger": (
        cell("pathology", patient_id="X1"),
        "north/pathology.csv: field patient_id: 1 patients who",
    ),
    "images of no kind": (cell("pathology", file="pathology/N000_0.bmp"), "N000_0.bmp: field file: no kind of image"),
    "scan of nobody": (
        lambda root: (root / "north" / "radiology" / "N004.nii.gz").rename(root / "north" / "radiology" / "Z.nii.gz"),
        "north/radiology/Z.nii.gz: names no patient of the patients' table",
    ),
}
