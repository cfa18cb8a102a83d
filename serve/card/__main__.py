"""`python -m serve.card [questions|check|diff]`: the model card from run records; its check; what changed."""

import os
import shutil
import sys
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from foundation.command import choose, command, name_first_argument, plain
from foundation.errors import UserError
from foundation.files import write_json, write_text
from foundation.run_output import claim
from foundation.run_record import RunRecord

_COMMAND = "python -m serve.card"
_HELP = """usage: python -m serve.card [ACTION] [overrides]

  (none)     writes README.md, card.html, chai.xml, bom.json, card.json and .eval_results/ from records of evaluations
  questions  writes a file of questions that only people can answer: python -m serve.card questions FILE
  check      holds every document and every number of a card against its records: python -m serve.card check FOLDER
  diff       what changed from one card to the next, as Markdown: python -m serve.card diff EARLIER LATER

`python -m serve.card ACTION --help` shows what can be set."""
_FIRST = {"questions": ["file"], "check": ["card"], "diff": ["before", "after"]}  # what arguments without a name are


@command("card")
def write(cfg: DictConfig) -> None:
    """Writes README.md, card.html, chai.xml, bom.json and card.json; further actions: `questions`, `check`, `diff`."""
    from serve import signature
    from serve.card import eval_results, pdf, signing
    from serve.card.build import BILL, CHAI, DATA, PAGE, README, Inputs, build
    from serve.card.graph import sha256

    evaluations, analyses = _paths(cfg.evaluation), _paths(cfg.analyses)
    export = None if cfg.export is None else Path(cfg.export)
    output = Path(cfg.output)
    browser = pdf.find_browser(cfg.browser) if cfg.pdf else None
    key = None if cfg.signing_key is None else signature.read_signing_key(Path(cfg.signing_key))
    claim(output, _COMMAND, plain(cfg))
    judgement = None if cfg.judgement is None else Path(cfg.judgement)
    card = build(Inputs(evaluations, str(cfg.name), str(cfg.license), export, judgement, analyses), output)
    parents = [*evaluations, *analyses, *([export] if export else [])]
    signing.unsign(output)
    (output / pdf.FILE).unlink(missing_ok=True)
    eval_results.clear(output)
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, parents) as record:
        for name, picture in card.pictures.items():
            shutil.copyfile(picture, output / name)
        for name, text in card.documents.items():
            write_text(output / name, text)
        write_json(output / DATA, card.content, sort_keys=False)
        if browser is not None:
            pdf.print_page(card.documents[PAGE], output / pdf.FILE, browser)
            record.note("pdf", {name: sha256(output / name) for name in (pdf.FILE, PAGE)})
        record.note("statements", len(card.content["nodes"]))
        if judgement is not None:
            record.note("judgement", os.path.relpath(judgement.resolve(), output.resolve()))
    if key is not None:
        signing.sign(output, key)
    made = (("card", README), ("page", PAGE), ("CHAI card", CHAI), ("bill of materials", BILL), ("data", DATA))
    for label, name in made:
        print(f"{label}: {output / name}")


def _paths(named: ListConfig | str | None) -> tuple[Path, ...]:
    """One path or a list of them; none where nothing is named."""
    if named is None:
        return ()
    return tuple(Path(path) for path in (named if isinstance(named, ListConfig) else [named]))


@command("card_questions")
def questions(cfg: DictConfig) -> None:
    """Writes the questions; an answer left empty stands in the card as open."""
    from serve.card.judgement import template

    path = Path(cfg.file)
    if path.exists():
        raise UserError(f"{path}: is there already; fill it in, or name another file")
    write_text(path, template())
    print(f"questions: {path}\nthen: {_COMMAND} judgement={path} evaluation=...")


@command("card_check")
def check(cfg: DictConfig) -> None:
    """Says what is wrong with a card, a line each; ends with code 2 where anything is."""
    from serve.card.check import check as check_card
    from serve.card.check import unanswered

    folder = Path(cfg.card)
    problems = check_card(folder, None if cfg.trusted_key is None else Path(cfg.trusted_key))
    if problems:
        for problem in problems[:-1]:
            print(f"error: {problem}", file=sys.stderr)
        raise UserError(problems[-1])
    print(f"{folder}: every document is whole, and every number is its record's; open questions: {unanswered(folder)}")


@command("card_diff")
def diff(cfg: DictConfig) -> None:
    """Prints what changed from one card to the next, as Markdown."""
    from serve.card.diff import Side
    from serve.card.diff import diff as compare

    sides = []
    for name in ("before", "after"):
        if cfg[name] is None:
            raise UserError(f"{name}: no card given; say {_COMMAND} diff EARLIER LATER")
        sides.append(Side.read(Path(cfg[name])))
    text = compare(*sides)
    print(text, end="")
    if cfg.output is not None:
        write_text(Path(cfg.output), text)


def main() -> None:
    """Writes a card, checks one, or says what changed."""
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    if action in _FIRST:
        for at, setting in enumerate(_FIRST[action]):
            sys.argv[2 + at :] = name_first_argument(setting, sys.argv[2 + at :])
        choose(_COMMAND, {"questions": questions, "check": check, "diff": diff}, _HELP)
    else:
        write()


if __name__ == "__main__":
    main()
