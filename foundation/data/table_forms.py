"""Tables that portals and pipelines write of patients, by name: their keys, their words for unknown, their columns."""

from typing import Any, Literal, get_args

TableForm = Literal["tcga_cdr", "cbioportal", "bids", "clam"]
_SEX = "sex"
# What each form says of itself; whatever a declaration says besides goes before it.
TABLE_FORMS: dict[str, dict[str, Any]] = {
    # Liu et al. 2018, table S1, saved as CSV.
    "tcga_cdr": {
        "key": "bcr_patient_barcode",
        "missing": [
            *("[Not Available]", "[Not Applicable]", "[Not Evaluated]", "[Unknown]", "[Discrepancy]", "[Completed]"),
            *("#N/A", "NA"),
        ],
    },
    # data_clinical_patient.txt of a study: four lines of comments above the header.
    "cbioportal": {"key": "PATIENT_ID", "missing": ["NA", "[Not Available]", "[Not Applicable]"]},
    # participants.tsv (BIDS 1.9); images are called by the label without `sub-`.
    "bids": {"file": "participants.tsv", "key": "participant_id", "key_pattern": "^(?:sub-)?(.+)$", "missing": ["n/a"]},
    # A row a slide, with case_id, slide_id and label: the rows of one case say the same.
    "clam": {"key": "case_id", "unique": "identical"},
}
assert TABLE_FORMS.keys() == set(get_args(TableForm))
# Columns where a declaration names none, by what the table is read for.
_COLUMNS: dict[str, dict[str, dict[str, Any]]] = {
    "tcga_cdr": {
        "patients": {"os_event": {"from": "OS"}, "os_days": {"from": "OS.time"}},
        "inputs": {"age": {"from": "age_at_initial_pathologic_diagnosis"}, _SEX: {"from": "gender"}},
    },
    "cbioportal": {
        "patients": {
            "os_event": {"from": "OS_STATUS", "values": {"1:DECEASED": 1, "0:LIVING": 0, "DECEASED": 1, "LIVING": 0}},
            "os_days": {"from": "OS_MONTHS", "scale": 30.4375},
        },
        "inputs": {"age": {"from": "AGE"}, _SEX: {"from": "SEX"}},
    },
    "bids": {"patients": {}, "inputs": {"age": {"from": "age"}, _SEX: {"from": "sex"}}},
    "clam": {"patients": {}},
}


def usual_columns(form: str | None, place: str) -> dict[str, dict[str, Any]] | None:
    """The columns that a form's table has for a place (`patients` or `inputs`); None where it says nothing of them."""
    return None if form is None else _COLUMNS.get(form, {}).get(place)
