"""The patients' table and what its columns may be: outcomes, labels, hospitals, inputs of the record."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from foundation.data.dictionary import is_outcome
from foundation.data.draft.glance import Glance

_EVENT = re.compile(
    r"(os|os_event|os_status|event|dead|death|died|death01|vital_status|status|censorship|censored)", re.I
)
_TIME = re.compile(r"(os[._]?(time|days|months|years)|.*(survival|follow_?up).*(days|months|years)?|time|days)", re.I)
_HOSPITAL = re.compile(r"(hospital|site|cent(er|re)|clinic|institution|tss|cohort)(_?(id|name|code))?", re.I)
_BOOKKEEPING = re.compile(r"(has|n|num|count|is_max)_.*|.*split|train|fold|unnamed.*|.*cluster", re.I)
_DEAD, _ALIVE = (
    {"1", "1:deceased", "deceased", "dead", "yes", "true"},
    {"0", "0:living", "living", "alive", "no", "false"},
)
_SCALES = {"month": 30.4375, "year": 365.25, "week": 7}
_UNKNOWN = re.compile(r"\[.*\]|n/?a|nan|unknown|missing|none|null|#n/a", re.I)
_WORDS = 12  # distinct words of a category
_MOST_HOSPITALS = 60
_MOST_LABELS = 8  # more columns of 0 and 1 are a category's words, a column each


@dataclass
class People:
    """What the patients' table says.

    Attributes:
        source: its declaration.
        hospitals: of a declaration whose hospitals a column names; None where none does.
        labels: columns.
        survival: of the dictionary.
        questions: to the hospital.
    """

    source: dict[str, Any]
    hospitals: dict[str, Any] | None = None
    labels: list[str] = field(default_factory=list)
    survival: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)


def choose_patients(tables: list[Glance]) -> Glance | None:
    """The table that is likeliest one of patients: called so, with follow-up, a row each."""

    def worth(table: Glance) -> tuple[bool, bool, bool, int]:
        key = table.key()
        once = key is not None and not table.text(key).duplicated().any()
        named = re.search(r"patients?|participants|clinical|cases", table.name.lower()) is not None
        return once, named, _outcome(table)[1] is not None, -len(table.columns)

    return max((table for table in tables if table.key() is not None), key=worth, default=None)


def patients_of(table: Glance) -> People:
    """The table's declaration, with what of it is outcome, label or hospital."""
    key = table.key()
    assert key is not None
    people = People({"file": table.name, **table.dialect, **table.key_fields(key)})
    columns: dict[str, Any] = {}
    hospital = _column(table, _HOSPITAL, lambda name: 2 <= table.text(name).nunique() <= _MOST_HOSPITALS, longest=True)
    if hospital is not None:
        columns[hospital] = hospital
        people.hospitals = {"column": hospital}
        people.questions.append(f"Is '{hospital}' the hospital that a patient was seen at?")
    _follow_up(table, columns, people)
    labels: dict[str, Any] = {}
    others = (key, hospital, *_outcome(table))
    for name in table.columns:
        words = set(table.text(name).str.removesuffix(".0"))
        other = name in others or is_outcome(name) or _EVENT.fullmatch(name) or _BOOKKEEPING.fullmatch(name)
        if {"0", "1"} <= words <= {"0", "1", "-1"} and not other:
            labels[name] = {"missing": [-1]} if "-1" in words else name
    if len(labels) <= _MOST_LABELS:
        columns |= labels
        people.labels = list(labels)
    if people.labels:
        people.questions.append(
            f"Which of {', '.join(people.labels)} shall be predicted? Take the others out of labels."
        )
    else:
        people.questions.append("What shall be predicted? Add its column here and to labels: 0 and 1, or 0, 1, 2, ...")
    if columns:
        people.source["columns"] = columns
    return people


def _follow_up(table: Glance, columns: dict[str, Any], people: People) -> None:
    event, time = _outcome(table)
    if event is None or time is None:
        return
    words = {word.lower(): word for word in table.text(event).str.removesuffix(".0").unique()}
    said: dict[str, Any] = {"from": event}
    if event.lower().startswith("censor"):
        said["values"] = {0: 1, 1: 0}
    elif not set(words) <= {"0", "1"}:
        codes = {words[word]: int(word in _DEAD) for word in words if word in _DEAD | _ALIVE}
        if not codes:
            people.questions.append(f"Which words of '{event}' say that a patient died? Give os_event values.")
            return
        said |= {"values": codes}
        rest = [word for key, word in words.items() if word not in codes]
        said |= {"missing": rest} if rest else {}
    scale = next((factor for unit, factor in _SCALES.items() if unit in time.lower()), 1)
    columns |= {"os_event": event if said == {"from": event} else said}
    columns |= {"os_days": time if scale == 1 else {"from": time, "scale": scale}}
    people.survival = {"event": "os_event", "time": "os_days"}
    people.questions.append(f"Does 1 in '{event}' mean that the patient died, and is '{time}' in days (after scale)?")


def record_of(table: Glance, taken: Collection[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A record's source and its columns in the dictionary: numbers and categories that are no outcome.

    Args:
        table: keyed by patient.
        taken: columns that are outcome, label or hospital.
    """
    key = table.key()
    assert key is not None
    columns: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    outcome = _outcome(table)
    for name in table.columns:
        known = table.text(name)
        other = any(pattern.fullmatch(name) for pattern in (_EVENT, _TIME, _BOOKKEEPING)) or is_outcome(name)
        if name == key or name in taken or name in outcome or other or not len(known):
            continue
        values = table.numbers(name)
        if len(values) and values.nunique() > 5 and not re.search(r"year|_id$|unnamed", name, re.I):
            spread = float(f"{max(values.std(), 1e-6):.2g}")
            listed.append(
                {"name": name, "kind": "continuous", "center": round(float(values.median()), 2), "scale": spread}
            )
            unknown = [word for word in known.unique() if _UNKNOWN.fullmatch(word)]
            columns[name] = {"missing": unknown} if unknown else name
            continue
        words = [word for word in known.unique() if not _UNKNOWN.fullmatch(word)]
        if 2 <= len(words) <= _WORDS and len(words) < 0.5 * len(known):
            unknown = sorted(set(known.unique()) - set(words))
            columns[name] = {"missing": unknown} if unknown else name
            listed.append({"name": name, "kind": "categorical", "values": sorted(words)})
    return {"file": table.name, **table.dialect, **table.key_fields(key), "columns": columns}, listed


def _outcome(table: Glance) -> tuple[str | None, str | None]:
    """The columns of event and time: by their names, or E and T where both stand, as survival packages write them."""
    event, time = _column(table, _EVENT), _column(table, _TIME, lambda name: len(table.numbers(name)) > 0)
    if event is None and time is None and {"E", "T"} <= set(table.columns):
        coded = set(table.text("E").str.removesuffix(".0")) == {"0", "1"}
        return ("E", "T") if coded and len(table.numbers("T")) else (None, None)
    return event, time


def _column(
    table: Glance, pattern: re.Pattern[str], fits: Callable[[str], bool] = lambda name: True, longest: bool = False
) -> str | None:
    """A column whose whole name the pattern is; of several the one of longest words, or the first."""
    names = [name for name in table.columns if pattern.fullmatch(name) and len(table.text(name)) and fits(name)]
    if longest:
        names.sort(key=lambda name: -table.text(name).str.len().mean())
    return names[0] if names else None
