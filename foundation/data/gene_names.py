"""Spellings of gene names, and what file formats and spreadsheets make of them."""

import re

_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?(?:_PAR_Y)?")
_ENTREZ = re.compile(r" \(\d+\)$")  # DepMap: TP53 (7157)
_ENGLISH = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTHS = {name: number for number, name in enumerate(_ENGLISH.split(), start=1)} | {"sept": 9}
_MONTHS |= {"mrz": 3, "mär": 3, "mai": 5, "okt": 10, "dez": 12, "fév": 2, "mars": 3, "avr": 4, "déc": 12}
_DATES = (
    re.compile(r"(?P<day>\d{1,2})(?:-|/|\. ?| )(?P<month>[^\W\d]{3,4})\.?"),
    re.compile(r"(?P<month>[^\W\d]{3,4})\.?(?:-|/| )(?P<day>\d{1,2})"),
    re.compile(r"(?:19|20)\d\d-(?P<number>\d\d)-(?P<day>\d\d)(?:[ T]00:00:00)?"),
)
# Genes whose names a spreadsheet takes for the day of a month: MARCH1 and MARC1 both become 1-Mar.
_STEMS = {
    2: ("FEB",),
    3: ("MARCH", "MARC", "MAR"),
    4: ("APR",),
    9: ("SEPT", "SEP"),
    10: ("OCT",),
    11: ("NOV",),
    12: ("DEC",),
}


def parts(name: str) -> list[str]:
    """The names that one name may stand for: `TP53|7157` and `TP53 (7157)` hold a symbol, Ensembl ids a version."""
    names = [_ENTREZ.sub("", part).strip() for part in name.strip().split("|")]
    return [match[1] if (match := _ENSEMBL.fullmatch(part)) else part for part in names if part]


def before_the_spreadsheet(name: str) -> list[str]:
    """What a name may have been before a spreadsheet made a date of it (`2-Sep`, `Sep-02`); none if it is no date.

    Ziemann, Eren and El-Osta, Gene name errors are widespread in the scientific literature, Genome Biology 2016.
    """
    for pattern in _DATES:
        match = pattern.fullmatch(name.strip())
        if match is not None:
            fields = match.groupdict()
            month = int(fields["number"]) if "number" in fields else _MONTHS.get(fields["month"].lower(), 0)
            return [f"{stem}{int(fields['day'])}" for stem in _STEMS.get(month, ())]
    return []


def may_be_recased(name: str) -> bool:
    """Whether other letter case may be overlooked: `C9ORF72` may, words such as `max`, `sex` or `eGFR` may not."""
    return name.isupper() or any(letter.isdigit() for letter in name)
