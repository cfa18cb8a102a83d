"""A search for obvious identifiers in free text, which masks them.

Own expressions, not Presidio: that needs a spaCy model (hundreds of megabytes, fetched from outside), and its general
patterns take a pathologist's `10/14` or `3 x 2 cm` for dates and numbers. This finds what has a form; a name without
title or label it does not find, so a masked report is not thereby anonymous.
Source of the kinds: HIPAA Safe Harbor, 45 CFR 164.514(b)(2).
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|januar|februar|märz|mai|juni|juli|oktober|dezember|janvier|février|mars|avril|juin"
    r"|juillet|août|septembre|octobre|novembre|décembre|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre"
    r"|octubre|noviembre|diciembre)\b\.?"
)
_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NUMBER = r"(?:0?[1-9]|1[0-2])"
_COUNTED = r"(?!\s*(?:HPFs?|high[- ]power|nodes?|lymph|cells?|cores?|blocks?|slides?|mm|cm|ml|%|x\b|×))"
_WORD = r"[^\W\d_a-z][^\W\d_]*(?:['’-][^\W\d_]+)*"  # begins with a capital, of any script
_HL7 = r"[A-Z][^\W\d_]*(?:\^[^\W\d_][^\W\d_'’.-]*)+(?:\^{1,3}[^\W\d_]+\.?)*"  # MUELLER^HANS^A
_LABEL = r"(?!(?i:age|sex|gender|dob|date|mrn|id|case|number|no|of|the|born|sample|specimen|ward|phone|tel|dr|prof)\b)"
_NAME = rf"{_LABEL}{_WORD}(?:(?:,?[ \t]+|\.[ \t]?){_LABEL}{_WORD}){{0,3}}"

# After `M.`, which is Monsieur or Morbus.
_MORBUS = (
    r"(?:Crohn|Hodgkin|Parkinson|Alzheimer|Bechterew|Basedow|Paget|Bowen|Waldenström|Whipple|Wilson|Scheuermann|Addison"
    r"|Dupuytren|Meulengracht|Boeck|Fabry|Pompe|Perthes|Menière|Hirschsprung|Cushing|Gaucher|Recklinghausen|Still)\b"
)
_STREET = (
    r"[^\W\d_a-z][\w’'-]*(?:straße|strasse|str\.|weg|gasse|allee|platz|ring|damm)|"
    r"(?:rue|avenue|boulevard|via|calle)\ (?:de\ (?:la\ |l['’])?|du\ |des\ )?[^\W\d_a-z][\w’'-]*"
)

PATTERNS: dict[str, str] = {
    "URL": r"(?P<URL>\b(?i:https?://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)])",
    "EMAIL": r"(?P<EMAIL>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+)",
    "IP": r"(?<![\d.])(?P<IP>(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d))(?![\d.]\d)",
    "DATE": rf"""(?<![\w/.,-])(?P<DATE>(?i:
          {_YEAR}-\d\d?-\d\d?(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?
        | {_YEAR}/{_NUMBER}/{_DAY} | {_YEAR}\.{_NUMBER}\.{_DAY} | {_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])
        | (?:{_DAY}/{_NUMBER}|{_NUMBER}/{_DAY})/(?:{_YEAR}|\d\d){_COUNTED}
        | (?:{_DAY}\.[ ]?{_NUMBER}|{_NUMBER}\.{_DAY})\.[ ]?{_YEAR} | \d\d\.\d\d\.\d\d{_COUNTED}
        | (?:{_DAY}-{_NUMBER}|{_NUMBER}-{_DAY})-{_YEAR} | (?:0[1-9]|[12]\d|3[01])-(?:0[1-9]|1[0-2])-\d\d{_COUNTED}
        | {_NUMBER}/{_YEAR}{_COUNTED}
        | {_DAY}(?:st|nd|rd|th|\.)?[ -]?(?:of[ ])?(?:de[ ])?{_MONTH}(?:[ ]de)?,?[ -]?(?:{_YEAR}|['’]?\d\d\b)
        | {_MONTH}[ -]?{_DAY}(?:st|nd|rd|th)?,?[ -]{_YEAR} | {_MONTH},?[ -]?{_YEAR}
        )|{_DAY}(?:st|nd|rd|th)?[ ](?:of[ ])?(?=[A-Z])(?i:{_MONTH}) | (?=[A-Z])(?i:{_MONTH})[ ]{_DAY}(?:st|nd|rd|th)?
        )(?![\w/%]|[.,-]\d)""",
    "SSN": r"""(?<![\w-])(?:(?P<SSN_1>\d{3}-\d{2}-\d{4}) | (?P<SSN_2>756\.\d{4}\.\d{4}\.\d\d)
        | (?P<SSN_3>[12][ ]?\d\d[ ]?(?:0[1-9]|1[0-2])[ ]?(?:\d\d|2[AB])[ ]?\d{3}[ ]?\d{3}(?:[ ]?\d\d)?)
        | (?P<SSN_4>\d{8}-?[A-HJ-NP-TV-Z]|[XYZ]-?\d{7}-?[A-Z])
        | (?i:ssn|social\ security(?:\ (?:no|number)\b\.?)?|ahv|avs|nss|nir|insee|bsn|dni|nie|nif|cpr|cnp|pesel|svnr)
          (?:[ -]?(?i:nr|no|number)\b\.?)?[ \t]*[:\#]?[ \t]*(?P<SSN_5>\d[\d ./-]{5,22}\d[A-Za-z]?))(?![\w-])""",
    "ZIP": r"(?<![\w-])(?P<ZIP>\d{5}-\d{4})(?![\w-])",
    "PHONE": r"""(?<![\w.+/-])(?:
        (?i:t[eé]l(?:[eé]phone|efono|efon)?|phone|mobile?|cell|fax|pager|ext|handy)\b\.?(?:\s*no\b\.?)?\s*[:#]?\s*
        (?P<PHONE_1>\+?\(?\d[\d ()./-]{4,22}\d)
        |(?P<PHONE_2>\+\d{1,3}[ .-]?\(?\d{1,5}\)?(?:[ .-]?\d{2,5}){1,5} | \(\d{2,5}\)[ ]?\d{3,5}[ .-]?\d{2,6}
        | \d{3}[.-]\d{3}[.-]\d{4} | 1-\d{3}-\d{3}-\d{4} | 0\d{2,4}[ /-]\d{3,8}(?:[ -]\d{2,5})?))(?![\w-])""",
    "RECORD": r"""(?:\b(?i:mrn|medical\ record
        |(?:patient|case|record|hospital|accession|specimen|chart|account|nhs|insurance)
        (?:[ ]?(?:no\b\.?|nr\b\.?|number|id\b|ident(?:ifier)?|\#))
        |(?:fall|pat(?:ienten|\.)?|aufnahme|eingangs|auftrags|journal|histologie|befund|piz|kv)-?\ ?(?:nr\b\.?|nummer)
        |nhc|nip(?:p)?\b|ipp\b|num[eé]ro\ (?:de\ )?(?:dossier|patient))
        (?:[ ]?(?:no\b\.?|number|\#))?[ \t]*[:\#=]?[ \t]*(?:is[ ])?
        (?P<RECORD_1>\d{1,3}(?:[ .-]\d{2,4}){2,4}(?!\d)|(?=[\w/-]*\d\d)[A-Za-z0-9][\w/-]{2,})
        |\b(?i:accession|specimen|case)[ \t]*[:\#]?[ \t]*(?P<RECORD_4>[A-Z]{1,3}-?\d{2}-\d{3,7}(?:[ ][A-Z]\d{0,2}\b)?)
        |(?<![\w-])(?P<RECORD_2>[A-Z]{1,3}\d{2}-\d{3,7})(?![\w-])
        |(?<![\w.:,>/+-])(?P<RECORD_3>\d{10,12})(?![\w-]|[.,]\d))""",
    "ADDRESS": rf"""(?<![\w-])(?P<ADDRESS>(?:(?:{_STREET})[ ]\d{{1,4}}[ ]?[a-z]?\b|\d{{1,4}},?[ ](?:{_STREET})\b)
        (?:,?[ ]\d{{4,5}}[ ][^\W\d_a-z]\w+)?)(?![\w-])""",
    "AGE": r"""(?:(?<![\w.,/-])(?P<AGE_1>9\d|1[01]\d)(?:[ -]?(?i:years?|yrs?|yr)[ -]?(?i:old|of\ age)|[ -]?(?i:y/?o)\b)
        |\b(?i:aged?)(?:[ ]of)?[ :=]{1,2}(?P<AGE_2>9\d|1[01]\d)(?![\w%/-]|[.,]\d|[ ]?(?i:%|days|weeks|months)))""",
    "NAME": rf"""(?:(?<![\w-])
        (?:(?:Prof|Dr|Mr|Mrs|Ms|Miss|PD|Herr|Frau|Mme|Sr|Sra)\b\.?[ ]?(?:med\b\.?[ ]?|h\.c\.[ ]?)*)+[ ]?
        (?P<NAME_1>{_NAME})
        |(?<![\w^])(?P<NAME_3>{_HL7})(?![\w^])
        |(?<![\w-])(?:M|Mlle|Dott|Sig|Hr|Fr|Dhr|Mevr)\.[ ]?(?!{_MORBUS})(?P<NAME_4>{_NAME})
        |(?<![\w-])(?i:pat)(?:ient(?:in)?)?\b\.?[ \t]*:[ \t]*(?P<NAME_5>{_WORD},[ ]?{_WORD})
        |(?<![\w-])(?i:pat)(?:ient(?:in)?)?\b\.?[ \t]*(?P<NAME_7>{_WORD}[ ]{_WORD})
          (?=,?[ ]?(?:\*|geb\b|né|born\b|DOB\b))
        |(?<![\w.])(?P<NAME_6>(?:[A-Z]\.[ -]?){{1,3}}{_WORD})(?=[ \t]*(?:$|[/;,\n)]|M\.?D\b))
        |\b(?i:(?:patient|last|first|family|given|maiden)(?:['’]s)?[ ]name|name(?:[ ]of[ ]patient)?|patient
        |signed(?:[ ]by)?|pathologist|(?:referring|attending)[ ]physician|physician|surgeon|dictated[ ]by|reported[ ]by)
        [ \t]*:[ \t]*(?P<NAME_2>{_HL7}|{_NAME}))""",
}
KINDS = tuple(PATTERNS)
_SHORT = "jan|feb|fév|mar|mär|may|mai|apr|avr|abr|jun|jul|jui|aug|aoû|sep|oct|okt|nov|dec|dez|déc|ene|ago|dic"
_MONTH_FIRST = re.compile(rf"(?:{_SHORT.title()}|{_SHORT.upper()})[^\W\d_]*\.?[ -]?\d")
# What every match holds, found ten times faster than the match: most texts are done with after this.
_HINTS: dict[str, tuple[str, str]] = {
    "URL": (r"://", "www."),
    "EMAIL": (r"@", ""),
    "IP": (r"\d\.\d{1,3}\.\d", ""),
    "DATE": (
        rf"\d(?:\d\d\d|[./-] ?\d{{1,2}}[./-] ?\d\d|(?:st|nd|rd|th|\.)?[ -]?(?:of |de )?(?i:{_SHORT}))",
        "",
    ),
    "SSN": (
        r"\d-\d\d-\d|756\.\d|\d{8}-?[A-Z]|[XYZ]-?\d{7}|\d{13}|\b[12] \d\d [01]\d \d",
        "ssn social ahv avs nss nir insee bsn dni nie nif cpr cnp pesel svnr",
    ),
    "ZIP": (r"\d{5}-\d{4}", ""),
    "PHONE": (r"\d{3}[ )./-]{1,2}\d{2}|\+\d|\(\d\d", "tel tél phone mobil cell fax pager ext handy"),
    "RECORD": (
        r"\d{10}|[A-Z]\d\d-\d{3}",
        "mrn pat case record hospital accession specimen chart account nhs insurance fall aufnahme eingang auftrag "
        "journal histologie befund piz kv- nhc nip ipp num",
    ),
    "ADDRESS": (r"(?:straße|strasse|str\.|weg|gasse|allee|platz|ring|damm) \d", "rue avenue boulevard via calle"),
    "AGE": (r"9\d|1[01]\d", ""),
    "NAME": (
        r"Prof|Dr|M[rsm]|PD|Sra?\b|\b(?:M|Mlle|Dott|Sig|Hr|Fr|Dhr|Mevr)\.|[^\W\d_]\^|[A-Z]\.[ -]?[^\W\d_a-z]",
        "miss herr frau name patient pat. pat: signed pathologist physician surgeon dictated reported",
    ),
}
_WITHOUT_DIGITS = {"URL", "EMAIL", "NAME"}
_DIGIT = re.compile(r"\d")
_FAST = {kind: (re.compile(form), words.split()) for kind, (form, words) in _HINTS.items()}
_COMPILED = {kind: re.compile(pattern, re.VERBOSE) for kind, pattern in PATTERNS.items()}


def scan_text(texts: "pd.Series[str]", kinds: Collection[str] = KINDS) -> pd.DataFrame:
    """Identifiers in free text.

    Args:
        texts: any index, such as the patient's.
        kinds: of `KINDS`, those looked for.

    Returns:
        A row a finding, in the order of the texts: `row` (its index), `kind`, `start`, `end` (characters). Where two
        overlap, the earlier kind of `KINDS` stands.
    """
    rows = [
        (row, kind, start, end)
        for row, text in texts.items()
        if isinstance(text, str)
        for start, end, kind in _spans(text, kinds)
    ]
    return pd.DataFrame(rows, columns=["row", "kind", "start", "end"])


def mask_text(texts: "pd.Series[str]", kinds: Collection[str] = KINDS) -> "pd.Series[str]":
    """Texts in which each identifier is its kind in brackets, `[DATE]`; scanning them finds nothing more."""
    return texts.map(lambda text: _mask(text, kinds), na_action="ignore")


def _mask(text: str, kinds: Collection[str]) -> str:
    while spans := _spans(text, kinds):  # what stands next to a mask may only now have the form of an identifier
        for start, end, kind in reversed(spans):
            text = f"{text[:start]}[{kind}]{text[end:]}"
    return text


def _spans(text: str, kinds: Collection[str]) -> list[tuple[int, int, str]]:
    taken: list[tuple[int, int, str]] = []
    low = text.lower()
    for kind, expression in _COMPILED.items():
        if kind in kinds and _hinted(text, low, kind):
            spans = [span for span in _matches(text, kind, expression) if _free(span, taken)]
            taken.extend(spans)
    return sorted(taken)


def _hinted(text: str, low: str, kind: str) -> bool:
    if kind not in _WITHOUT_DIGITS and _DIGIT.search(text) is None:
        return False
    form, words = _FAST[kind]
    if form.search(text) or any(word in low for word in words):
        return True
    return kind == "DATE" and _MONTH_FIRST.search(text) is not None


def _matches(text: str, kind: str, expression: "re.Pattern[str]") -> Iterator[tuple[int, int, str]]:
    for match in expression.finditer(text):
        yield (*match.span(match.lastgroup or 0), kind)


def _free(span: tuple[int, int, str], taken: list[tuple[Any, ...]]) -> bool:
    return all(span[1] <= start or end <= span[0] for start, end, _ in taken)
