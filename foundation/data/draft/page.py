"""The draft of `cohort.yaml`: what was recognised, as a declaration, with what nobody could tell as questions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from foundation.data.declaration import declare
from foundation.data.draft.folders import recognise_folder
from foundation.data.draft.glance import Glance, glances
from foundation.data.draft.patients import People, choose_patients, patients_of, record_of
from foundation.data.draft.tables import Recognised, recognise
from foundation.data.genes import GeneVocabulary
from foundation.data.hospitals import slug
from foundation.errors import UserError

ASKS = "# ?"  # how a line of the draft begins that asks
_ORDER = ("patients", "pathology", "radiology", "expression", "mutations", "copy_number", "reports", "record")


@dataclass
class Draft:
    """A declaration in the making.

    Attributes:
        name: of the cohort.
        content: of the declaration.
        questions: by the part that they stand before; those of the whole under an empty name.
        recognised: what each place was taken from, for the console.
    """

    name: str
    content: dict[str, Any]
    questions: dict[str, list[str]] = field(default_factory=dict)
    recognised: dict[str, str] = field(default_factory=dict)

    def ask(self, part: str, *questions: str) -> None:
        """Adds questions."""
        self.questions.setdefault(part, []).extend(questions)

    @property
    def count(self) -> int:
        """How many questions are open."""
        return sum(map(len, self.questions.values()))

    def text(self) -> str:
        """What the file holds."""
        lines = [f"# A draft by a look at the folder. Lines that begin with {ASKS} ask what it could not tell."]
        lines += self._asked("")
        for part, value in self.content.items():
            lines += self._asked(part)
            if part != "sources":
                lines.append(_yaml({part: value}, 0))
                continue
            lines.append("sources:")
            for place, source in value.items():
                lines += [f"  {line}" for line in self._asked(f"sources.{place}")]
                lines.append(_yaml({place: source}, 2))
        return "\n".join(lines) + "\n"

    def _asked(self, part: str) -> list[str]:
        return [f"{ASKS} {' '.join(question.split())}" for question in self.questions.get(part, [])]


def draft(folder: Path, name: str | None = None) -> Draft:
    """A draft for a folder; its questions say what is open, also where the declaration could not be used as it is.

    Raises:
        UserError: if there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the one that holds a cohort's files")
    if not any(folder.iterdir()):
        raise UserError(f"{folder}: empty; put the cohort's files there first")
    hospitals = _folders(folder)
    root = folder / hospitals[0] if hospitals else folder
    tables, unread = glances(root)
    made = Draft(name or slug(folder.resolve().name), {})
    made.ask("", *unread)
    people, sources, record = _sources(root, tables, made)
    made.content = {
        "name": made.name,
        "synthetic": False,
        "description": "?",
        "hospitals": hospitals or (people.hospitals if people else None) or _one_hospital(made.name),
        "unknown_patients": "ignore",
        "sources": sources,
        "dictionary": _dictionary(people, sources, record),
    }
    made.ask("description", "Who are the patients, from which years and hospitals? Model cards show it.")
    made.ask(
        "unknown_patients", "Rows and files of patients whom the patients' table lacks are left out; or say error."
    )
    if not hospitals and not (people and people.hospitals):
        made.ask("hospitals", "All are taken as one hospital. Which column names theirs? Say hospitals: {column: NAME}")
    _check(made, folder)
    return made


def _folders(folder: Path) -> list[str]:
    """Hospitals that have a folder each: those with a patients' table of one name, and none beside them."""
    if any(folder.glob("patients.*")):
        return []
    return sorted(path.parent.name for path in folder.glob("*/patients.*") if path.is_file())


def _one_hospital(name: str) -> dict[str, Any]:
    return {"pattern": "^.", "smallest": 1_000_000, "rest": name}


def _sources(
    root: Path, tables: list[Glance], made: Draft
) -> tuple[People | None, dict[str, Any], list[dict[str, Any]]]:
    """Patients, sources by place in their usual order, and the record's columns."""
    vocabulary = GeneVocabulary.shipped()
    by_table = {table.name: recognise(table, vocabulary, root) for table in tables}
    of_tables = [one for found in by_table.values() for one in found]
    named: dict[str, list[Recognised]] = {}
    for one in [*of_tables, *(one for one in recognise_folder(root, tables) if not _listed(one, of_tables, root))]:
        named.setdefault(one.place, []).append(one)
    clinical = [table for table in tables if not by_table[table.name]]
    people = None
    if "patients" not in named or named["patients"][0].source.get("form") == "bids":
        people = _people(clinical, named, made)
    record = _record(clinical, named, people)
    sources: dict[str, Any] = {}
    for place in (*_ORDER, *(name for name in named if name not in _ORDER)):
        if place in named:
            first, *others = named[place]
            sources[place] = [one.source for one in named[place]] if place == "mutations" and others else first.source
            made.ask(f"sources.{place}", *first.questions)
            if others and place != "mutations":
                rest = ", ".join(sorted({str(one.source.get("file", one.source)) for one in others}))
                made.ask(f"sources.{place}", f"{rest} may be {place}, too: which is it?")
            made.recognised[place] = _whence(first.source)
    return people, sources, record


def _record(clinical: list[Glance], named: dict[str, list[Recognised]], people: People | None) -> list[dict[str, Any]]:
    """The record's columns; its table is the one that tells most of most patients."""
    if "record" in named:
        sex = {"name": "sex", "kind": "categorical", "values": ["female", "male"]}
        return [{"name": "age", "kind": "continuous", "center": 60, "scale": 15}, sex]
    taken = {*people.labels, *(people.hospitals or {}).values()} if people else set()
    read = [(len(table.frame), *record_of(table, taken)) for table in clinical if table.key() is not None]
    _, source, columns = max(read, key=lambda one: len(one[2]) * one[0], default=(0, {}, []))
    if columns:
        asked = ["Which columns are known before the outcome? Drop the others."]
        named["record"] = [Recognised("record", source, asked)]
    return columns


def _listed(one: Recognised, tables: list[Recognised], root: Path) -> bool:
    """Whether a table lists the images of a folder, as those beside its own."""
    top = str(one.source.get("files", "")).partition("/")[0]
    lists = [other.source for other in tables if "table" in other.source]
    return any(top and _mentions(root / source["table"]["file"], top) for source in lists)


def _mentions(path: Path, folder: str) -> bool:
    return path.suffix in (".csv", ".tsv") and f"{folder}/" in path.read_text(encoding="utf-8", errors="replace")


def _people(clinical: list[Glance], named: dict[str, list[Recognised]], made: Draft) -> People | None:
    table = choose_patients(clinical)
    if table is None:
        made.ask("", "No table of patients was recognised: write patients.csv, with patient_id and what is predicted.")
        return None
    people = patients_of(table)
    forms = [one.source for one in named.get("patients", [])]
    source = {**people.source, **(forms[0] if forms else {})}
    if "form" in source:  # which says file, key and pattern
        source = {name: value for name, value in source.items() if name in ("form", "columns", "encoding", "delimiter")}
    elif {"case_id", "slide_id"} <= set(table.columns):
        source |= {"unique": "identical"}
    named["patients"] = [Recognised("patients", source, people.questions)]
    return people


def _dictionary(people: People | None, sources: dict[str, Any], record: list[dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if "expression" in sources:
        content |= {"genes": [], "expression_unit": sources["expression"].get("unit", "tpm")}
    content |= {"record": record} if record else {}
    content |= {"labels": people.labels} if people and people.labels else {}
    follow_up = people.survival if people else {"event": "os_event", "time": "os_days"} if "patients" in sources else {}
    return content | ({"survival": follow_up} if follow_up else {})


def _check(made: Draft, folder: Path) -> None:
    """Asks about what the declaration itself refuses."""
    try:
        declare(yaml.safe_load(made.text()), folder / "cohort.yaml")
    except UserError as error:
        made.ask("", f"Not usable yet: {str(error).partition(': ')[2]}")


def _whence(source: dict[str, Any]) -> str:
    table = source.get("table") or source
    place = str(table.get("file") or table.get("files") or "")
    form = source.get("form")
    return " ".join(filter(None, (place, f"({form})" if form else "")))


def _yaml(content: dict[str, Any], indent: int) -> str:
    block = None if any(isinstance(value, dict | list) for value in content.values()) else False
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=block, width=110).rstrip()
    return "\n".join(" " * indent + line for line in text.splitlines())
