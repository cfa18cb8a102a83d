"""A site's own config for a run: of its installed release, of its `site.yaml`, and of the fields of a plan."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from foundation.command import compose_installed, plain
from foundation.federation.plan import RunPlan
from foundation.federation.site.config import Site

_TRAINER = {"accelerator": "cpu", "devices": 1}  # where the release's config names none


def compose_config(site: Site, plan: RunPlan) -> DictConfig:
    """The config that a site follows; nothing of it but the fields of the plan came from a server.

    Args:
        site: with its own settings.
        plan: that was read and let in.

    Raises:
        UserError: if the plan counts on something that this site has not.
    """
    content = _installed(site, plan) if site.simulated is None else plain(site.simulated)
    content |= {
        "sites": list(plan.sites),
        "rounds": plan.rounds,
        "steps_per_round": plan.steps,
        "seed": plan.seed,
        "keep_optimizer": plan.keep_optimizer,
        "deadline": plan.deadline,
        "statistics": list(plan.statistics),
        "strategy": {"local": list(plan.strategy.local)},
    }
    for name in ("federation", "privacy", "compression", "secure", "screening"):
        content.pop(name, None)  # of the plan, which builds them of its own fields
    plan.settings.apply(content)
    if site.data is not None:
        content["data"]["folder"] = str(site.data)
    content["trainer"] = {**content.get("trainer", _TRAINER), **site.trainer}
    return OmegaConf.create(content)


def _installed(site: Site, plan: RunPlan) -> dict[str, Any]:
    """The release's own config for a task, with the site's settings; every patient trains or validates, or none."""
    cfg = compose_installed(plan.settings.config_name, site.settings)
    split = site.split
    own = {
        "folder": "" if site.data is None else str(site.data),
        "test_hospitals": [] if site.name in plan.training else [site.name],
        "folds": 0,
        "split_file": None if split.file is None else str(split.file),
        "validation_fraction": split.validation_fraction,
        "split_seed": split.seed,
    }
    if split.file is not None:
        own["test_hospitals"] = []
    OmegaConf.update(cfg, "output", str(site.state), force_add=True)
    for name, value in own.items():
        OmegaConf.update(cfg, f"data.{name}", value, force_add=True)
    return plain(cfg)
