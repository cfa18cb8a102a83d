"""The hospital's own file, `site.yaml`, which says where its data, policy, ledger and state lie, and how it trains."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field

from foundation.documents import read_yaml, validated
from foundation.errors import UserError
from foundation.federation.planning import installed_tasks
from foundation.federation.policy import SitePolicy
from foundation.federation.task import FederatedTask

FILE = "site.yaml"
SIMULATION = "CONSILIUM_SIMULATION"  # environment: the folder of sites that this machine simulates
CONFIG = "config.yaml"  # in it: the researcher's own config, on whose settings simulated sites train


class SplitFile(BaseModel):
    """How a hospital deals its patients to training and validation; no server has a say in it.

    Attributes:
        validation_fraction: share drawn for validation.
        seed: of the draw.
        file: a table of `patient_id` and `part` instead.
    """

    model_config = ConfigDict(extra="forbid")

    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.15
    seed: int = 0
    file: Path | None = None


class SiteFile(BaseModel):
    """`site.yaml` of a hospital; relative paths are those of its folder.

    Attributes:
        name: of the hospital, as its cohort and the run's plan call it.
        data: prepared cohort that holds this hospital.
        policy: what the hospital lets a run do; the defaults of `SitePolicy` if null.
        ledger: of what came in and went out.
        state: what stays here from round to round: optimiser, local weights, residuals.
        trainer: settings that replace those of the release's trainer, such as devices and strategy.
        settings: of the release's config, as a command line has them, such as `trainer=gpu` or `data.num_workers=4`;
            what the plan asks comes after them.
        split: of the hospital's patients.
        key: of its node, which signs the ledger's heads; without one, nobody tells a ledger that was rolled back.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    data: Path | None = None
    policy: Path | None = None
    ledger: Path = Path("ledger.jsonl")
    state: Path = Path("state")
    trainer: dict[str, Any] = {}
    settings: list[str] = []
    split: SplitFile = SplitFile()
    key: Path | None = None


@dataclass
class Site:
    """A hospital's side of a federation.

    Attributes:
        name: of the hospital.
        data: prepared cohort; in simulation the researcher's if None.
        policy: see `SitePolicy`.
        ledger: path of it.
        state: folder.
        trainer: see `SiteFile`.
        settings: likewise.
        split: likewise.
        key: likewise.
        simulated: the researcher's config, where the site is one of this machine's; None at a hospital.
    """

    name: str
    data: Path | None
    policy: SitePolicy
    ledger: Path
    state: Path
    trainer: dict[str, Any] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    split: SplitFile = field(default_factory=SplitFile)
    key: Path | None = None
    simulated: DictConfig | None = None

    @classmethod
    def load(cls, path: Path, simulated: DictConfig | None = None) -> "Site":
        """Reads a `site.yaml`.

        Args:
            path: of it.
            simulated: see above.

        Raises:
            UserError: naming file and field.
        """
        content = read_yaml(path, "give the path of a site.yaml")
        file = validated(SiteFile, content, path, "see SiteFile")
        folder = path.resolve().parent
        if file.split.file is not None:
            file.split.file = folder / file.split.file
        return cls(
            file.name,
            None if file.data is None else folder / file.data,
            SitePolicy() if file.policy is None else SitePolicy.load(folder / file.policy),
            folder / file.ledger,
            folder / file.state,
            file.trainer,
            file.settings,
            file.split,
            None if file.key is None else folder / file.key,
            simulated,
        )

    @classmethod
    def of_node(cls, node_config: Mapping[str, Any]) -> "Site":
        """The hospital of a Flower node, from what lies on its own machine; no message has a say in it.

        A simulated one without a file asks for nothing, and lets protected embeddings leave: nobody's data do.

        Args:
            node_config: in a deployment it names the `site.yaml`; in simulation it numbers the node.

        Raises:
            UserError: if the node is neither.
        """
        if "site" in node_config:
            return cls.load(Path(str(node_config["site"])))
        folder = node_config.get("simulation", os.environ.get(SIMULATION))
        if folder is None:
            raise UserError("node: names no site.yaml, and nobody simulates here; start it with start.sh")
        cfg = OmegaConf.load(Path(str(folder)) / CONFIG)
        assert isinstance(cfg, DictConfig)
        name = str(cfg.sites[int(node_config["partition-id"])])
        home = Path(str(folder)) / name
        if (home / FILE).is_file():
            return cls.load(home / FILE, cfg)
        policy = SitePolicy(shared_embeddings=True)
        return cls(name, None, policy, home / "ledger.jsonl", home / "state", simulated=cfg)

    def tasks(self) -> dict[str, type[FederatedTask]]:
        """By name, those that this site can train: of the installed release, and of its own policy."""
        return installed_tasks(self.policy.targets)
