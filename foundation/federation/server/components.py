"""The replaceable components of a run's server, as its config names them."""

from dataclasses import dataclass

from omegaconf import DictConfig

from foundation.command import instantiate
from foundation.errors import UserError
from foundation.federation.privacy import PrivateStrategy, private
from foundation.federation.secure import Secure, refuse_single_updates
from foundation.federation.server.screening import Screening
from foundation.federation.strategies.base import Strategy
from foundation.federation.strategies.robust import Robust
from foundation.federation.task import FederatedTask, federated_task
from foundation.federation.wire.compression import Compressor


@dataclass
class ServerComponents:
    """The components of a run's server.

    Attributes:
        task: that the run trains.
        strategy: combines updates.
        compression: reads them.
        screening: refuses bad ones.
        secure: secure aggregation; None where the server sees single updates.
    """

    task: FederatedTask
    strategy: Strategy
    compression: Compressor
    screening: Screening
    secure: Secure | None

    @property
    def clip(self) -> float | None:
        """Of the round to come, where a run's privacy has one."""
        return self.strategy.clip if isinstance(self.strategy, PrivateStrategy) else None

    @classmethod
    def of(cls, cfg: DictConfig) -> "ServerComponents":
        """Built from the groups of the config.

        Raises:
            UserError: if two of them do not go together.
        """
        secure: Secure | None = None if cfg.get("secure") is None else instantiate(cfg.secure)
        strategy: Strategy = instantiate(cfg.strategy, _convert_="all")
        alone = len(strategy.stages(1, ["one", "other"])) > 1
        scaffold = bool(strategy.site_settings().get("scaffold"))
        if secure is not None and (isinstance(strategy, Robust) or scaffold or alone):
            raise refuse_single_updates(f"strategy {type(strategy).__name__}")
        if secure is not None and cfg.compression.kind != "fp32":
            raise UserError(
                f"compression.kind: {cfg.compression.kind} narrows single updates, and masked ones are summed; "
                "set compression=none"
            )
        training = [name for name in cfg.sites if name not in cfg.data.test_hospitals]
        strategy = private(strategy, instantiate(cfg.privacy), len(training), secure is not None)
        return cls(federated_task(cfg), strategy, instantiate(cfg.compression), instantiate(cfg.screening), secure)
