"""The hospital's own file, `site.yaml`, which says where its data, policy, ledger and state lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict

from foundation.documents import read_yaml, validated
from foundation.federation.policy import SitePolicy

FILE = "site.yaml"


class SiteFile(BaseModel):
    """`site.yaml` of a hospital; relative paths are those of its folder.

    Attributes:
        name: of the hospital, as its cohort and the run's config call it.
        data: prepared cohort that holds this hospital.
        policy: what the hospital lets a run do; the defaults of `SitePolicy` if null.
        ledger: of what came in and went out.
        state: what stays here from round to round: optimiser, local weights, residuals.
        trainer: settings that replace those of the run's trainer, such as devices and strategy.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    data: Path | None = None
    policy: Path | None = None
    ledger: Path = Path("ledger.jsonl")
    state: Path = Path("state")
    trainer: dict[str, Any] = {}


@dataclass
class Site:
    """A hospital's side of a federation.

    Attributes:
        name: of the hospital.
        data: prepared cohort; the run's own `data.folder` if None.
        policy: see `SitePolicy`.
        ledger: path of it.
        state: folder.
        trainer: see `SiteFile`.
    """

    name: str
    data: Path | None
    policy: SitePolicy
    ledger: Path
    state: Path
    trainer: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Site":
        """Reads a `site.yaml`.

        Raises:
            UserError: naming file and field.
        """
        content = read_yaml(path, "give the path of a site.yaml")
        file = validated(SiteFile, content, path, "see SiteFile")
        folder = path.resolve().parent
        return cls(
            file.name,
            None if file.data is None else folder / file.data,
            SitePolicy() if file.policy is None else SitePolicy.load(folder / file.policy),
            folder / file.ledger,
            folder / file.state,
            file.trainer,
        )

    @classmethod
    def of_node(cls, node_config: Mapping[str, Any], sites: list[str], folder: Path) -> "Site":
        """The hospital of a Flower node.

        A simulated one without a file asks for nothing, and lets protected embeddings leave: nobody's data do.

        Args:
            node_config: in a deployment it names the `site.yaml`; in simulation it numbers the node.
            sites: hospitals of the run, in the order of the nodes.
            folder: in simulation, of the sites' folders; one may hold a `site.yaml`.
        """
        if "site" in node_config:
            return cls.load(Path(str(node_config["site"])))
        name = sites[int(node_config["partition-id"])]
        home = folder / name
        if (home / FILE).is_file():
            return cls.load(home / FILE)
        return cls(name, None, SitePolicy(shared_embeddings=True), home / "ledger.jsonl", home / "state", {})

    def localised(self, cfg: DictConfig) -> DictConfig:
        """The run's config as this site follows it: on its own data, with its own trainer."""
        here = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
        assert isinstance(here, DictConfig)
        if self.data is not None:
            here.data.folder = str(self.data)
        if self.trainer:
            here.trainer = OmegaConf.merge(here.trainer, self.trainer)
        return here
