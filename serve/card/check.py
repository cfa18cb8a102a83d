"""The check of a card: every statement against its record, every document against its statements."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import read_json
from foundation.run_record import FILE
from serve.card import chai, eval_results, pdf, readability, signing
from serve.card.build import CHAI, DATA, PAGE, Inputs, build
from serve.card.card_file import read_card
from serve.card.documents import page_problems, read_text, readme_problems
from serve.card.graph import look_up, read_once, sha256
from serve.card.judgement import questions, read

_ADVICE = "write the card again with python -m serve.card"
_MISSING = object()


def check(folder: Path, trusted_key: Path | None = None) -> list[str]:
    """What is wrong with a card, a line each; nothing where all is well.

    Args:
        folder: that `python -m serve.card` wrote into.
        trusted_key: public key of whoever must have signed it; None if it need not be signed.

    Raises:
        UserError: if it holds no card, or the key's file no key.
    """
    record, card = _record(folder), read_card(folder, _ADVICE)
    signed = [*signing.problems(folder, trusted_key), *_pdf(folder, record)]
    return list(dict.fromkeys([*_by_records(folder, record, card), *signed]))


def _by_records(folder: Path, record: dict[str, Any], card: dict[str, Any]) -> list[str]:
    """Statements and documents against the records."""
    stale = [*_links(folder, record), *_files(folder, card["files"])]
    problems = stale or list(_records(folder, card))
    if stale:
        problems += [*_records(folder, card), *_documents(folder, card)]
        return problems
    try:
        fresh = build(inputs_of(folder, record), folder)
    except UserError as error:
        return [*problems, str(error)]
    problems += _statements(card, json.loads(json.dumps(fresh.content)))
    problems += readability.problems(folder, card, len(inputs_of(folder, record).evaluations))
    problems += _documents(folder, card)
    problems += eval_results.problems(folder, fresh.documents)
    for name, text in fresh.documents.items():
        if not any(problem.startswith(f"{name}:") for problem in problems):
            problems += _bytes(folder / name, name, text)
    for name, picture in fresh.pictures.items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != picture.read_bytes():
            problems.append(f"{name}: missing, or another picture than {picture.parent.name}/{picture.name}; {_ADVICE}")
    return problems


def _pdf(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Whether the PDF is the one that was printed, of the page as it is."""
    note = record.get("notes", {}).get("pdf")
    if note is not None:
        digests = {name: sha256(folder / name) for name in note if (folder / name).is_file()}
        problem = pdf.problem(folder, note, digests)
        if problem is not None:
            yield problem


def _record(folder: Path) -> dict[str, Any]:
    """The card's own run record; its links are followed, so their form is looked at first."""
    record = read_json(folder / FILE, _ADVICE, "config", "builds_on")
    links, notes = record["builds_on"], record.get("notes", {})
    for part, formed in (
        ("config", isinstance(record["config"], dict) and _names_paths(record["config"].get("analyses"))),
        ("builds_on", isinstance(links, list) and bool(links) and all(map(_is_link, links))),
        ("notes", isinstance(notes, dict) and isinstance(notes.get("judgement", ""), str) and _is_note(notes)),
    ):
        if not formed:
            raise UserError(f"{folder / FILE}: '{part}' is not as a run record has it; {_ADVICE}")
    return record


def _is_note(notes: Mapping[str, Any]) -> bool:
    return isinstance(notes.get("pdf", {}), dict) and notes.get("pdf", {pdf.FILE: ""}).keys() <= {pdf.FILE, PAGE}


def _names_paths(named: Any) -> bool:
    return named is None or isinstance(named, str | list)


def _is_link(link: Any) -> bool:
    return isinstance(link, dict) and all(isinstance(link.get(key), str) for key in ("path", "digest"))


def unanswered(folder: Path) -> int:
    """How many questions to people a card has open."""
    nodes = read_card(folder, _ADVICE)["nodes"]
    return sum(f"judgement/{field}" not in nodes for field in questions())


def inputs_of(folder: Path, record: Mapping[str, Any]) -> Inputs:
    """What a card was made of, as its own record says."""
    config, links = record["config"], [(folder / link["path"]).resolve() for link in record["builds_on"]]
    named_analyses = config.get("analyses") or []
    further = 1 if isinstance(named_analyses, str) else len(named_analyses)  # one path, or a list of them
    evaluations = len(links) - bool(config.get("export")) - further
    export = links[-1] if config.get("export") else None
    said = record.get("notes", {}).get("judgement")
    judgement = (folder / said).resolve() if said else None
    analyses = tuple(links[evaluations : evaluations + further])
    named = str(config["name"]), str(config["license"])
    return Inputs(tuple(links[:evaluations]), *named, export, judgement, analyses)


def _links(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Runs that changed since the card was written from them."""
    for link in record["builds_on"]:
        path = folder / link["path"] / FILE
        try:
            digest, _ = read_once(path)
        except UserError as error:
            yield str(error)
            continue
        if digest != link["digest"]:
            yield f"{link['path']}/{FILE}: changed since the card was written from it (stale); {_ADVICE}"


def _files(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Files that are gone or changed."""
    for name, before in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name}: missing; restore it, or run the step that writes it again"
            continue
        digest = sha256(path)
        if digest != before:
            yield f"{name}: sha256 {digest[:12]} now, {str(before)[:12]} in card.json (stale); {_ADVICE}"


def _records(folder: Path, card: Mapping[str, Any]) -> Iterator[str]:
    """Statements that stand otherwise in their file."""
    contents: dict[str, Any] = {}
    for name in card["files"]:
        try:
            contents[name] = _content(folder / name)
        except UserError:
            contents[name] = None
    contents[FILE] = read_json(folder / FILE, _ADVICE)
    for name, node in card["nodes"].items():
        for place in node.get("sources", []):
            if look_up(contents.get(place[0]), place[1:], _MISSING) is _MISSING:
                yield f"{name}: {place[0]}#{'/'.join(map(str, place[1:]))} is not there"
        if not node.get("rule") and node.get("sources"):
            yield from _values(name, node, contents)


def _content(path: Path) -> Any:
    return read(path) if path.suffix in (".yaml", ".yml") else read_once(path)[1]


def _values(name: str, node: Mapping[str, Any], contents: Mapping[str, Any]) -> Iterator[str]:
    """The value and the ends of its interval, against the place that it names."""
    file, *keys = node["sources"][0]
    there = look_up(contents.get(file), keys, _MISSING)
    if there is _MISSING:
        return
    parts = {key: there.get(key) for key in ("value", "low", "high")} if isinstance(there, dict) else {"value": there}
    for part, value in parts.items():
        if json.dumps(node.get(part)) != json.dumps(value):
            place = f"{file}#{'/'.join(map(str, keys))}"
            yield f"{name}: {part} is {json.dumps(node.get(part))} in card.json, {json.dumps(value)} in {place}"


def _statements(card: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    """How statements differ from those that the records give now."""
    before, now = card["nodes"], fresh["nodes"]
    for name in before.keys() | now.keys():
        if name not in now or name not in before:
            yield f"{name}: {'no record says it' if name not in now else 'missing in card.json'}; {_ADVICE}"
            continue
        for part in before[name].keys() | now[name].keys():
            one, other = (json.dumps(node[name].get(part)) for node in (before, now))
            if one != other:
                yield f"{name}: {part} is {one} in card.json, {other} by the records"
    for part in ("format", "files", "readme"):
        if card.get(part) != fresh[part]:
            yield f"{DATA}: '{part}' is not what the records give; {_ADVICE}"


def _documents(folder: Path, card: Mapping[str, Any]) -> list[str]:
    path = folder / CHAI
    invalid = chai.problems(read_text(path)) if path.is_file() else ()
    return [*readme_problems(folder, card), *page_problems(folder, card), *(f"{CHAI}: {each}" for each in invalid)]


def _bytes(path: Path, name: str, text: str) -> Iterator[str]:
    """The first line that differs from the document as the records give it."""
    if not path.is_file():
        yield f"{name}: missing; {_ADVICE}"
        return
    lines, fresh = read_text(path).split("\n"), text.split("\n")
    for row, (one, other) in enumerate(zip(lines, fresh, strict=False), start=1):
        if one != other:
            yield f"{name}: line {row} was changed by hand; {_ADVICE}"
            return
    if len(lines) != len(fresh):
        yield f"{name}: {len(lines)} lines, {len(fresh)} by the records; {_ADVICE}"
