"""Identifiers of national forms are masked whole, and what looks like them is not."""

import pandas as pd
import pytest

from foundation.data.identifiers import mask_text
from foundation.data.problems import Problems
from foundation.modalities.report.text_checks import check_identifiers

MASKED = {
    "NHS number: 943 476 5919. Nuclear grade 3.": "NHS number: [RECORD]. Nuclear grade 3.",
    "NHS No 943-476-5919": "NHS No [PHONE]",
    "MRN: 12 34 567 Biopsy of left breast.": "MRN: [RECORD] Biopsy of left breast.",
    "MRN 12.345.678": "MRN [RECORD]",
    "Pat.: Müller, Hans, geb. 12.03.1956, Pat.-Nr. 4711-08": "Pat.: [NAME], geb. [DATE], Pat.-Nr. [RECORD]",
    "Patient Hans Müller, *12.03.56, Hauptstraße 12, 80331 München": "Patient [NAME], *[DATE], [ADDRESS]",
    "Patient: MUELLER^HANS^A DOB: 19560312": "Patient: [NAME] DOB: [DATE]",
    "M. Jean Dupont, né le 12/03/1956, NSS 1 56 03 75 123 456 78": "M. [NAME], né le [DATE], NSS [SSN]",
    "AHV 756.1234.5678.97": "AHV [SSN]",
    "DNI 12345678Z, NHC: 00123456": "DNI [SSN], NHC: [RECORD]",
    "Tel +49 (0)89 1234-5678 Rückfragen": "Tel [PHONE] Rückfragen",
    "tél. 01 42 34 56 78": "tél. [PHONE]",
    "Accession S19-12345 A1": "Accession [RECORD]",
    "Eingangsnummer: E/2019/012345": "Eingangsnummer: [RECORD]",
    "SSN 123 45 6789": "SSN [SSN]",
    "BSN 123456782": "BSN [SSN]",
    "Dr. A. Schmidt / J.M. Dubois": "Dr. [NAME] / [NAME]",
    "12 rue de la Paix, 75002 Paris": "[ADDRESS]",
}


@pytest.mark.parametrize(("text", "masked"), MASKED.items())
def test_an_identifier_is_masked_whole(text, masked):
    assert mask_text(pd.Series([text])).iloc[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "V.a. M. Crohn des Colons.",
        "Ki-67 index 12.5 %, 3 x 2 x 1 cm.",
        "Mitoses: 14 per 10 HPF. Margin 0.2 cm.",
        "Tumour cells, CD20 positive; ER 90 %, PR 10 %.",
        "Specimen A: left breast, 12 o'clock.",
    ],
)
def test_findings_are_not_masked(text):
    assert mask_text(pd.Series([text])).iloc[0] == text


def test_long_numbers_of_no_known_form_are_reported_and_not_shown():
    problems = Problems()
    texts = pd.Series({"P1": "Ref 12 34 56 78 of the ward.", "P2": "Grade 3."})
    check_identifiers([(texts, "reports.csv")], True, problems)
    (line,) = map(str, problems.warnings)
    assert "1 reports hold long numbers that may be identifiers and are not masked, the first of patient P1" in line
    assert "12 34" not in line
