"""`python -m serve.release propose|compare|promote|rollback|show`: releases that are earned, and the way back."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from foundation.command import choose, command, plain
from foundation.errors import UserError

if TYPE_CHECKING:
    from foundation.data.cohort import Cohort
    from serve.release.registry import Registry
    from serve.release.rules import Evidence, Rules

_COMMAND = "python -m serve.release"
_LOADS = "pandas"
_HELP = f"""usage: {_COMMAND} ACTION [overrides]

  propose    takes an export and its evaluation in, under the rules of today: export=FOLDER evaluation=FOLDER
  compare    holds it against them, beside the release in use, on the same held-out patients
  promote    puts it to use where every rule holds; an endpoint on the registry follows without losing a request
  rollback   puts the release before the one in use back: reason='...'
  show       what is in use, and how every release stands, from the ledger, which is verified

`{_COMMAND} ACTION --help` shows what can be set. An endpoint that follows: python -m serve bundle=REGISTRY"""


def _opened(cfg: DictConfig, new: bool = False) -> "tuple[Registry, Rules]":
    from pydantic import ValidationError

    from serve.release.registry import Registry
    from serve.release.rules import Rules

    try:
        rules = Rules.model_validate(plain(cfg.rules))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"rules.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    registry = Registry(Path(cfg.registry))
    if registry.ledger.entries():
        with registry.locked():
            registry.point()
    elif not new:
        raise UserError(f"{cfg.registry}: no release; {_COMMAND} propose takes one in")
    return registry, rules


@command("release", loads="torch, pandas")
def propose(cfg: DictConfig) -> None:
    """Takes a challenger in: bundle, archive, signature, figures and card are held together first."""
    from serve.release.registry import Proposal

    for name in ("export", "evaluation"):
        if cfg[name] is None:
            raise UserError(f"{name}: not given; say {name}=FOLDER (see {_COMMAND} propose --help)")
    registry, rules = _opened(cfg, new=True)
    card, key = (None if cfg[name] is None else Path(cfg[name]) for name in ("card", "trusted_key"))
    release = registry.propose(Proposal(Path(cfg.export), Path(cfg.evaluation), card, key), rules, plain(cfg), cfg.seed)
    print(f"proposed: {release}\nthen: {_COMMAND} promote registry={cfg.registry} release={release}")


@command("release", loads=_LOADS)
def compare(cfg: DictConfig) -> None:
    """Shows how a challenger stands beside the release in use; the evidence is kept."""
    registry, rules = _opened(cfg)
    _show(registry.compare(_release(cfg, registry), rules, _cohort(cfg), _before(cfg)))


@command("release", loads=_LOADS)
def promote(cfg: DictConfig) -> None:
    """Puts a challenger to use where every rule holds; code 2 where one is broken."""
    registry, rules = _opened(cfg)
    release = _release(cfg, registry)
    evidence = registry.promote(release, rules, _cohort(cfg), _before(cfg))
    _show(evidence)
    if evidence.broken:
        more = f" (and {len(evidence.broken) - 1} more)" if len(evidence.broken) > 1 else ""
        raise UserError(f"{release} stays as it is: {evidence.broken[0]}{more}")
    print(f"in use: {release}")


@command("release")
def rollback(cfg: DictConfig) -> None:
    """Puts the release before the one in use back."""
    if not cfg.reason:
        raise UserError("reason: not given; say in one line why, for the ledger")
    registry, _ = _opened(cfg)
    left, release = registry.rollback(str(cfg.reason))
    print(f"in use: {release}, and {left} no longer")


@command("release")
def show(cfg: DictConfig) -> None:
    """Verifies the ledger, and lists releases with their stage."""
    registry, _ = _opened(cfg)
    for release, stage in registry.stages().items():
        print(f"{release}: {'in use' if stage == 'promoted' else stage}")
    print(f"{registry.ledger.path}: {len(registry.ledger.entries())} entries, each follows from the one before")


def _release(cfg: DictConfig, registry: "Registry") -> str:
    """The challenger: the latest release, unless another is named."""
    if cfg.release is not None:
        return str(cfg.release)
    release, stage = list(registry.stages().items())[-1]
    if stage in ("rolled back", "replaced"):
        raise UserError(f"release: {release}, the latest, was {stage}; say release={release} if it is to be used again")
    return release


def _cohort(cfg: DictConfig) -> "Cohort | None":
    if cfg.cohort is None:
        return None
    from foundation.data.cohort import Cohort

    return Cohort(Path(cfg.cohort))


def _before(cfg: DictConfig) -> Path | None:
    return None if cfg.before is None else Path(cfg.before)


def _show(evidence: "Evidence") -> None:
    print(f"{evidence.release} beside {evidence.against or 'nothing: no release is in use'}")
    for check in evidence.checks:
        print(f"  {check}")
    if evidence.against is not None:
        print(f"  not compared: {evidence.left_out}")


def main() -> None:
    """Proposes, compares, promotes or rolls back."""
    actions = {"propose": propose, "compare": compare, "promote": promote, "rollback": rollback, "show": show}
    choose(_COMMAND, actions, _HELP)


if __name__ == "__main__":
    main()
