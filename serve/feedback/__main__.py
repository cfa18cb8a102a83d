"""`python -m serve.feedback declare|keep|outcomes|look|share|pool|forget`: what came of those who were answered."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from foundation.command import choose, command, plain
from foundation.errors import UserError

if TYPE_CHECKING:
    from serve.feedback.ledger import FeedbackLedger

_COMMAND = "python -m serve.feedback"
_HELP = f"""usage: {_COMMAND} ACTION [overrides]

  declare    bounds of a release, from its own evaluation, before any outcome is seen: bundle=FOLDER
  keep       answers of a batch, under keyed hashes of the patients: answers=FILE; shadow=true: nobody was told
  outcomes   what came of them: table=FILE column=NAME
  look       figures by quarter, and alarms whose rate holds however often one looks; code 1 where one stands
  share      sums of looks, as this hospital's policy lets them go: policy=FILE hospital=NAME output=FILE
  pool       the same tests over hospitals, of what they shared: shares=[FILE,...]
  forget     takes patients out: table=FILE, an id a line

`{_COMMAND} ACTION --help` shows what can be set."""


@command("feedback", loads="pandas")
def declare(cfg: DictConfig) -> None:
    """Writes down what a release is held to."""
    from pydantic import ValidationError

    from serve.feedback import declared
    from serve.release.rules import Rules

    folder = Path(_given(cfg, "bundle"))
    evaluation = folder if cfg.evaluation is None else Path(cfg.evaluation)
    if not 0 < cfg.false_alarms < 1:
        raise UserError(f"false_alarms: found {cfg.false_alarms}; give a chance above 0 and below 1")
    try:
        margins = Rules(**plain(cfg.margins))
        bounds = declared.declare(folder / "bundle", evaluation, margins, cfg.false_alarms)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"margins.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    ledger = _ledger(cfg, new=True)
    with ledger.locked():
        new = ledger.declare(bounds)
    print(f"{bounds.name} {bounds.version}: {'declared' if new else 'stood there already'}")
    for name, bound in bounds.tests().items():
        print(f"  {name}: mean at most {bound:.3f}")


@command("feedback", loads="pandas")
def keep(cfg: DictConfig) -> None:
    """Takes answers of a batch in; each patient's first answer of a release counts."""
    from serve.feedback.quarters import quarter_of
    from serve.feedback.sources import answers_of
    from serve.feedback.store import Store

    ledger, quarter = _ledger(cfg), quarter_of(cfg.quarter)
    with ledger.locked():
        answers = list(answers_of(Path(_given(cfg, "answers")), ledger.declared()))
        counts = Store(ledger.folder).keep(answers, quarter, bool(cfg.shadow))
    print(f"{quarter}: {_words(counts) or 'no answer in the file'}")


@command("feedback", loads="pandas")
def outcomes(cfg: DictConfig) -> None:
    """Takes outcomes in, of patients who were asked about."""
    from serve.feedback.quarters import quarter_of
    from serve.feedback.sources import outcomes_of
    from serve.feedback.store import Store

    ledger, quarter = _ledger(cfg), quarter_of(cfg.quarter)
    with ledger.locked():
        declared = ledger.of_version(_version(cfg, ledger))
        rows = list(outcomes_of(Path(_given(cfg, "table")), cfg.column, declared))
        counts = Store(ledger.folder).add_outcomes(rows, quarter)
    print(f"{quarter}: {_words(counts) or 'no outcome in the table'}")


@command("feedback", loads="pandas")
def look(cfg: DictConfig) -> None:
    """Counts what has come since the last look; with output=FOLDER writes feedback.md and feedback.json."""
    from foundation.files import write_json, write_text
    from serve.feedback import page
    from serve.feedback.figures import by_quarter
    from serve.feedback.looks import look
    from serve.feedback.quarters import quarter_of
    from serve.feedback.store import Store

    ledger, quarter = _ledger(cfg), quarter_of(cfg.quarter)
    with ledger.locked():
        version = _version(cfg, ledger)
        declared, store = ledger.of_version(version), Store(ledger.folder)
        standing = look(store, ledger, version, quarter, int(cfg.cleared_from))
        judged, asked = store.judged(version), store.asked(version)
        cleared = ledger.is_cleared(version) if len(asked) and asked["shadow"].any() else None
    rows = by_quarter(judged, asked, declared.outputs)
    text = page.as_markdown(declared, rows, standing, cleared)
    if cfg.output is not None:
        write_text(Path(cfg.output) / "feedback.md", text)
        write_json(Path(cfg.output) / "feedback.json", page.as_json(declared, rows, standing, cleared), sort_keys=False)
    print(text, end="")
    if any(one.alarm is not None for one in standing):
        sys.exit(1)


@command("feedback", loads="pandas")
def share(cfg: DictConfig) -> None:
    """Writes sums of looks that others may add, and nothing of fewer patients than the policy lets go."""
    from foundation.federation.policy import SitePolicy
    from serve.feedback import shares

    policy, path = SitePolicy.load(Path(_given(cfg, "policy"))), Path(_given(cfg, "output"))
    ledger = _ledger(cfg)
    with ledger.locked():
        content = shares.share(ledger, _version(cfg, ledger), policy, str(_given(cfg, "hospital")), path)
    print(f"{path}: {sum(map(len, content.looks.values()))} sums, {len(content.withheld)} withheld")


@command("feedback", loads="pandas")
def pool(cfg: DictConfig) -> None:
    """Adds what hospitals shared; code 1 where an alarm stands."""
    from foundation.files import write_json, write_text
    from serve.feedback import page, shares

    declared, standing, withheld = shares.pool([Path(path) for path in cfg.shares])
    text = page.as_markdown(declared, [], standing, None)
    text += f"\n{len(cfg.shares)} hospitals; withheld there: {', '.join(withheld) or 'nothing'}.\n"
    if cfg.output is not None:
        write_text(Path(cfg.output) / "feedback.md", text)
        write_json(Path(cfg.output) / "feedback.json", page.as_json(declared, [], standing, None), sort_keys=False)
    print(text, end="")
    if any(one.alarm is not None for one in standing):
        sys.exit(1)


@command("feedback")
def forget(cfg: DictConfig) -> None:
    """Takes all rows of patients out; sums of past looks stay."""
    from serve.feedback.sources import ids_of
    from serve.feedback.store import Store

    ledger = _ledger(cfg)
    with ledger.locked():
        count = Store(ledger.folder).forget(ids_of(Path(_given(cfg, "table"))))
        ledger.note("forgotten", "", patients=count)
    print(f"{count} patients were taken out")


def _ledger(cfg: DictConfig, new: bool = False) -> "FeedbackLedger":
    from serve.feedback.ledger import FeedbackLedger

    ledger = FeedbackLedger(Path(cfg.folder))
    if not new and not ledger.declared():
        raise UserError(f"{cfg.folder}: no release was declared; {_COMMAND} declare bundle=FOLDER does")
    return ledger


def _version(cfg: DictConfig, ledger: "FeedbackLedger") -> str:
    if cfg.version is not None:
        return str(cfg.version)
    return list(ledger.declared())[-1]


def _given(cfg: DictConfig, name: str) -> str:
    if cfg[name] is None:
        raise UserError(f"{name}: not given; say {name}=... (see {_COMMAND} --help)")
    return str(cfg[name])


def _words(counts: "dict[str, int]") -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def main() -> None:
    """Declares, keeps, looks, shares, pools or forgets."""
    actions = {"declare": declare, "keep": keep, "outcomes": outcomes, "look": look}
    choose(_COMMAND, {**actions, "share": share, "pool": pool, "forget": forget}, _HELP)


if __name__ == "__main__":
    main()
