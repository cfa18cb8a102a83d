"""The plan of a run, told from the server's config; and which tasks' plans a site can follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig
from pydantic import TypeAdapter, ValidationError

from foundation.command import instantiate, plain
from foundation.contract import Hospital, only
from foundation.data.dictionary import FILE, dictionary_digest
from foundation.errors import UserError
from foundation.federation.ledger.entry import printable
from foundation.federation.plan import RunPlan, TaskSettings
from foundation.federation.plan.protection import Combination, Masking, Narrowing, SiteNoise
from foundation.federation.policy.order import shipped_targets
from foundation.federation.strategies.base import Strategy
from foundation.federation.task import FederatedTask, task_class
from foundation.release import installed_release

_HYDRA = ("_target_", "_convert_")
_OURS = "asked of sites"  # how errors about the server's own config begin


@cache
def _shipped_tasks() -> dict[str, type[FederatedTask]]:
    """The federated tasks that configs of the installed release name, by name."""
    names = sorted(target for target in shipped_targets() if ".federated." in target)
    kinds = [resolve_name(target) for target in names]
    return {kind.name: kind for kind in kinds if isinstance(kind, type) and issubclass(kind, FederatedTask)}


def installed_tasks(beside: Iterable[str] = ()) -> dict[str, type[FederatedTask]]:
    """By name, the federated tasks of the installed release, and those that a site's own policy names beside them.

    Args:
        beside: dotted names of classes that this site installed.

    Raises:
        UserError: if one of them is no federated task.
    """
    tasks = dict(_shipped_tasks())
    for target in beside:
        kind = task_class({"federated_task": {"_target_": target}})
        tasks[kind.name] = kind
    return tasks


def settings_of(tasks: Mapping[str, type[FederatedTask]]) -> dict[str, type[TaskSettings]]:
    """By task, the class of what a plan may ask of it."""
    return {name: kind.settings_class for name, kind in tasks.items()}


def plan_of(cfg: DictConfig) -> RunPlan:
    """What a server's resolved config asks of the sites.

    Raises:
        UserError: naming a setting that cannot be asked of a site.
    """
    kind, content = task_class(cfg), plain(cfg)
    held_out = [str(name) for name in (content.get("data") or {}).get("test_hospitals") or []]
    sites = [str(name) for name in content["sites"]]
    _check_names(sites)
    asked: dict[str, Any] = {
        "version": 1,
        "release": installed_release(),
        "task": kind.name,
        "training": [name for name in sites if name not in held_out],
        "evaluating": [name for name in sites if name in held_out],
        "rounds": content["rounds"],
        "steps": content["steps_per_round"],
        **only(content, "seed", "keep_optimizer", "deadline", "statistics"),
        "strategy": _strategy(cfg).values(),
        "noise": _noise(content.get("privacy") or {}),
        "compression": _part(Narrowing, content.get("compression") or {}, "compression").values(),
        "secure": None if content.get("secure") is None else _part(Masking, content["secure"], "secure").values(),
        **({} if content.get("standing") is None else {"standing": content["standing"]}),
        "dictionary": _dictionary(Path(str((content.get("data") or {}).get("folder") or ""))),
        "settings": {},
    }
    plan = RunPlan.read(asked, _OURS, ours=True)
    return plan.model_copy(update={"settings": kind.settings_class.of(cfg)})


def _check_names(sites: Iterable[str]) -> None:
    fits = TypeAdapter(Hospital)
    for name in sites:
        try:
            fits.validate_python(name)
        except ValidationError as error:
            raise UserError(
                f"sites: '{printable(name)}' is no hospital's name in a plan: words, with a space or one of .+&-' "
                "between them, of 100 characters at most; rename it where its cohort is prepared, and in its site.yaml"
            ) from error


def _dictionary(folder: Path) -> str | None:
    return dictionary_digest(folder) if (folder / FILE).is_file() else None


def _part(kind: type[Any], node: Mapping[str, Any], what: str) -> Any:
    content = {key: value for key, value in node.items() if key not in _HYDRA}
    return kind.read(content, f"{_OURS}: {what}", ours=True)


def _strategy(cfg: DictConfig) -> Combination:
    strategy: Strategy = instantiate(cfg.strategy, _convert_="all")
    asked = dict(strategy.site_settings())
    content = {
        "kind": type(strategy).__name__.lower(),
        "proximal": asked.pop("proximal", 0.0),
        "scaffold": bool(asked.pop("scaffold", False)),
        "local": list(strategy.local),
    }
    if asked:
        raise UserError(f"strategy: asks sites for '{min(asked)}', for which a plan has no word; take another")
    return Combination.read(content, f"{_OURS}: strategy", ours=True)


def _noise(node: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config's `privacy`, as far as it is noise on updates."""
    if "noise_multiplier" not in node:
        return None
    clipping = dict(node["clipping"])
    adaptive = str(clipping.pop("_target_", "")).endswith(".Adaptive")
    content = {**node, "clipping": {"adaptive": adaptive, **clipping}, "contributors": node.get("contributors") or {}}
    noise: SiteNoise = _part(SiteNoise, content, "privacy")
    return noise.values()
