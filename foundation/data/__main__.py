"""`python -m foundation.data declare|validate|features|prepare|describe|withdrawn`: a cohort, from folders on."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from foundation.command import choose, command, instantiate, name_first_argument, plain
from foundation.errors import UserError
from foundation.files import write_text
from foundation.run_output import claim
from foundation.run_record import RunRecord, is_finished

if TYPE_CHECKING:
    from foundation.data.declaration import Declaration

_LOADS = "pandas"
_MOST_WARNINGS = 5  # at a terminal
_HELP = """usage: python -m foundation.data ACTION [overrides]

  declare    looks at a folder and drafts its cohort.yaml, with questions: python -m foundation.data declare FOLDER
  validate   lists what a cohort's folders hold and every problem with it (Markdown and JSON); --strict
  features   takes features of slides, regions or scans by an image encoder, once: extractor=uni, ...
  prepare    checks and packs them for training; features=FOLDER: with those features instead of images
  withdrawn  names the runs and releases that learned from patients who left: runs=[FOLDER]
  describe   draws a prepared cohort on one page of HTML

`python -m foundation.data ACTION --help` shows what can be set. The demo: python -m foundation.data prepare
Your own folders: python -m foundation.data validate cohort=folder cohort.name=ours cohort.root=path/to/ours"""


@contextmanager
def _site_folders(cohort: DictConfig, output: Path) -> Iterator[Path]:
    """Own site folders at `root`, or those that the source writes: to `sites`, or for a moment beside `output`."""
    if cohort.source is None:
        yield Path(cohort.root)
    elif cohort.get("sites"):
        instantiate(cohort.source)(Path(cohort.sites))
        yield Path(cohort.sites)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{output.name}.sites.", dir=output.parent) as scratch:
            sites = Path(scratch) / "sites"
            instantiate(cohort.source)(sites)
            yield sites


def _declaration(cohort: DictConfig, root: Path) -> "Declaration":
    """The config's own, where it declares the cohort; else that in the folder."""
    from foundation.data.declaration import declare, read_declaration

    if cohort.get("declaration") is None:
        return read_declaration(root)
    return declare(plain(cohort.declaration), Path("cohort.declaration"))


@command("declare", loads="pandas")
def declare(cfg: DictConfig) -> None:
    """Writes a commented draft of cohort.yaml; what could not be told stands there as questions."""
    from foundation.data.draft.page import ASKS, draft

    output = Path(cfg.output)
    if output.exists():
        raise UserError(f"{output}: is there already; move it away, or write the draft elsewhere with output=FILE")
    made = draft(Path(cfg.folder), cfg.name)
    write_text(output, made.text())
    for place, whence in made.recognised.items():
        print(f"{place}: {whence}")
    print(f"draft: {output}, with {made.count} questions (lines that begin with {ASKS})")
    print(f"then: python -m foundation.data validate cohort=folder cohort.name={made.name} cohort.root={cfg.folder}")


@command("data", loads=_LOADS)
def prepare(cfg: DictConfig) -> None:
    """Writes the cohort's site folders where it has a source, checks and packs them; a prepared cohort grows."""
    from foundation.data.dictionary import FILE
    from foundation.data.grow import as_before, grow
    from foundation.data.pack import pack

    output, name = Path(cfg.output), "python -m foundation.data prepare"
    features = None if cfg.features is None else Path(cfg.features)
    grows = (output / FILE).is_file() and not cfg.overwrite
    claim(output, name, plain(cfg) | {"overwrite": cfg.overwrite or grows})
    with _site_folders(cfg.cohort, output) as sites:
        declaration = _declaration(cfg.cohort, sites)
        if grows:
            packed = grow(sites, output, declaration, cfg.workers, features)
        else:
            packed = pack(sites, output, declaration, cfg.workers, features)
    if packed is None:
        print(f"cohort: {output}, nothing changed since it was prepared")
        if is_finished(output):
            return
        packed = as_before(output)  # it was killed before its record was written
    data = {key: packed[key] for key in ("name", "digest", "synthetic")} | {"hospitals": list(packed["found"])}
    builds_on = () if features is None else (features,)
    with RunRecord.open(output, name, plain(cfg), cfg.seed, builds_on, data) as record:
        record.note("found", packed["found"])
        record.note("characteristics", packed["characteristics"])
        if grows:
            record.note("grown", packed["grown"])
    Console().print(counts_table(packed))
    if grows:
        print(", ".join(f"{count} {what}" for what, count in packed["grown"].items()) + " since it was prepared")
    if packed.get("read_whole"):
        print(f"all tables were read: {packed['read_whole']}")
    print(f"cohort: {output}")


def counts_table(packed: Mapping[str, Any]) -> Table:
    """Who has what, by hospital; names fold where the terminal is narrow, so that no two of them look alike."""
    table = Table(title=packed["name"] + (" (synthetic)" if packed["synthetic"] else ""))
    table.add_column("hospital", overflow="fold")
    for name in next(iter(packed["found"].values())):
        table.add_column(name, justify="right", overflow="fold")
    for hospital, counts in packed["found"].items():
        table.add_row(hospital, *(str(value) for value in counts.values()))
    return table


@command("validate", loads=_LOADS)
def validate(cfg: DictConfig) -> None:
    """Writes validation.md and validation.json; ends with code 2 where a problem must be mended."""
    from foundation.data import validation_report
    from foundation.data.split_file import split_source
    from foundation.data.validation import validate as validate_cohort

    output = Path(cfg.output)
    with _site_folders(cfg.cohort, output) as sites:
        declaration = _declaration(cfg.cohort, sites)
        split_file = plain(cfg)["split_file"]
        split = None if split_file is None else split_source(split_file)
        validation = validate_cohort(sites, declaration, images=cfg.images, split=split)
    data = {"name": declaration.name, "synthetic": declaration.synthetic, "hospitals": list(validation.counts)}
    with RunRecord.open(output, "python -m foundation.data validate", plain(cfg), cfg.seed, (), data) as record:
        validation_report.write(validation, output)
        record.metrics.update(
            {"errors": len(validation.problems.errors), "warnings": len(validation.problems.warnings)}
        )
    validation_report.show(validation, Console())
    print(f"report: {output / 'validation.md'}")
    stopping = validation.problems.listed if cfg.strict else validation.problems.errors
    if stopping:
        more = f" (and {len(stopping) - 1} more in {output / 'validation.md'})" if len(stopping) > 1 else ""
        raise UserError(f"{stopping[0]}{more}")


@command("features", loads="torch, timm, transformers")
def features(cfg: DictConfig) -> None:
    """Writes HDF5 files of features, a table of them a hospital, and the encoder's folder; a killed run goes on."""
    from foundation.data.extraction.run import Plan, extract_features
    from foundation.data.problems import Problems
    from foundation.data.reading import read_sites

    output, name = Path(cfg.output), "python -m foundation.data features"
    claim(output, name, plain(cfg) | {"overwrite": True})  # what is done is known by its content, and goes on
    plan = Plan(output, cfg.modality, cfg.workers, cfg.batch, cfg.gpus)
    problems = Problems()
    with _site_folders(cfg.cohort, output) as folder:
        declaration = _declaration(cfg.cohort, folder)
        sites = read_sites(folder, declaration, problems)
        problems.refuse_first()
        extractor = instantiate(cfg.extractor)
        data = {"name": declaration.name, "synthetic": declaration.synthetic, "hospitals": [s.name for s in sites]}
        with RunRecord.open(output, name, plain(cfg), cfg.seed, (), data) as record:
            facts = extract_features(sites, extractor, type(extractor).load, plan)
            record.note("features", facts)
    for warning in facts["warnings"][:_MOST_WARNINGS]:
        print(f"warning: {warning}")
    if len(facts["warnings"]) > _MOST_WARNINGS:
        print(f"warning: {len(facts['warnings']) - _MOST_WARNINGS} more in {output / 'run.json'}")
    print(f"features: {facts['contents']} files of {facts['dim']} numbers a tile, {facts['extracted']} of them new")
    print(f"encoder: {facts['encoder']}, digest {facts['encoder_digest'][:12]}, in {output / 'extractor'}")
    print(f"then: python -m foundation.data prepare features={output}, with the same cohort")


@command("describe", loads=_LOADS)
def describe(cfg: DictConfig) -> None:
    """Writes index.html."""
    from foundation.data.cohort import Cohort
    from foundation.data.description import describe as describe_cohort

    folder, output = Path(cfg.folder), Path(cfg.output)
    cohort = Cohort(folder)
    with RunRecord.open(output, "python -m foundation.data describe", plain(cfg), cfg.seed, [folder], cohort.facts()):
        write_text(output / "index.html", describe_cohort(cohort, cfg.seed))
    print(f"page: {output / 'index.html'}")


@command("withdrawn", loads="pandas")
def withdrawn(cfg: DictConfig) -> None:
    """Names the runs and releases that learned from patients who have left, and the files that still name them."""
    from foundation.data import withdrawals
    from foundation.data.cohort import Cohort

    cohort = Cohort(Path(cfg.folder))
    count, affected = withdrawals.affected_by_withdrawal(cohort, [Path(root) for root in cfg.runs])
    print(withdrawals.as_text(count, affected), end="")
    if cfg.output is not None:
        write_text(Path(cfg.output), withdrawals.to_json(count, affected))
    if cfg.purge:
        for folder in withdrawals.remove_caches(affected):
            print(f"removed: {folder}")
        for path in withdrawals.blind_lists(affected, cohort):
            print(f"names changed for digests: {path}")
        for path in withdrawals.blind_query_sets(affected, cohort):
            print(f"names changed for blind ids: {path}")
    elif any(one.files for one in affected):
        print("purge=true removes caches of embeddings, and changes names in lists and splits for digests")


def main() -> None:
    """Declares, validates, prepares or describes."""
    if sys.argv[1:2] == ["declare"]:
        sys.argv[2:] = name_first_argument("folder", sys.argv[2:])
    actions = {"declare": declare, "validate": validate, "features": features}
    actions |= {"prepare": prepare, "describe": describe, "withdrawn": withdrawn}
    choose("python -m foundation.data", actions, _HELP)


if __name__ == "__main__":
    main()
