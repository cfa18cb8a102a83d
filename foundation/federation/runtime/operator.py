"""What the operator of a deployed run holds of its cohort: the data dictionary that hospitals prepared against.

No patient's row lies on the server's machine, and none is looked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from omegaconf import DictConfig

from foundation.command import plain
from foundation.data.dictionary import read_prepared
from foundation.errors import UserError
from foundation.federation.plan import RunPlan
from foundation.federation.policy import SitePolicy
from foundation.federation.policy.order import NOT_WEIGHTS
from foundation.federation.site.composition import compose_config
from foundation.federation.site.config import Site
from foundation.run_record import FILE

# Settings that are the server's own matter, or stand in the plan under another name.
_SERVER = (
    *NOT_WEIGHTS,
    *("cohort", "federated_task", "federation", "privacy", "compression", "secure", "screening", "strategy"),
    *(
        "sites",
        "join_seconds",
        "standing",
        "continues",
        "data.folder",
        "data.test_hospitals",
        "data.split_file",
        "trainer._target_",
    ),
)
_FILES = ("weights", "gmt", "model")


@dataclass(frozen=True)
class CohortFacts:
    """What is known of a cohort without a look at its patients.

    Attributes:
        folder: that holds `cohort.json`, and nothing else that is read.
        name: of the cohort.
        digest: of what was prepared.
        hospitals: declared ones.
        synthetic: whether its patients are made up.
    """

    folder: Path
    name: str
    digest: str
    hospitals: list[str]
    synthetic: bool

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Those of a folder with a `cohort.json`.

        Raises:
            UserError: if there is none.
        """
        content = read_prepared(folder)
        return cls(folder, content["name"], content["digest"], content["hospitals"], content["synthetic"])

    def check_name(self, name: str) -> None:
        """Refuses another cohort than the run is about.

        Raises:
            UserError: if the folder holds another.
        """
        if name != self.name:
            raise UserError(f"data.folder: {self.folder} describes cohort '{self.name}', and cohort.name is '{name}'")

    def facts(self) -> dict[str, Any]:
        """What a run record says of its data."""
        return {"name": self.name, "digest": self.digest, "synthetic": self.synthetic, "hospitals": self.hospitals}

    def builds_on(self) -> list[Path]:
        """The folder, where it has a run record of its own."""
        return [self.folder] if (self.folder / FILE).is_file() else []


def check_askable(cfg: DictConfig, plan: RunPlan) -> None:
    """Holds a server's config against what sites make of its plan.

    Args:
        cfg: resolved.
        plan: of it.

    Raises:
        UserError: naming a setting that would not come out at a hospital as it stands here.
    """
    bare = Site(plan.training[0], Path(), SitePolicy(), Path("ledger.jsonl"), Path("state"))
    content = plain(cfg)
    for key, part in (content.get("modality") or {}).items():  # which a hospital has in a file of its own
        bare.settings += [f"++modality.{key}.{name}='{part[name]}'" for name in _FILES if part.get(name)]
    own = {name: _at(content, name) for name in plan.settings.site_owned}
    bare.settings += [f"++{name}='{value}'" for name, value in own.items() if isinstance(value, str)]
    there = plain(compose_config(bare, plan))
    ours = (*_SERVER, *plan.settings.site_owned)
    for path, value in _leaves(content):
        if not any(f"{path}.".startswith(f"{name}.") for name in ours) and _at(there, path) != value:
            raise UserError(
                f"{path}: {value} cannot be asked of a hospital, which decides it itself; leave it at "
                f"{_at(there, path)} here, and let hospitals set it under `settings` in site.yaml"
            )


def _leaves(node: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in node.items():
        path = f"{prefix}{key}"
        leaves += _leaves(value, f"{path}.") if isinstance(value, dict) and value else [(path, value)]
    return leaves


def _at(node: Any, path: str) -> Any:
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node
