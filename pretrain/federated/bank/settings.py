"""The settings of a shared bank: what leaves a site in a round, how strongly it is protected, what that spends."""

import math
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foundation.command import plain
from foundation.contract import Name
from foundation.errors import UserError
from foundation.federation.ledger.spent import Spent
from foundation.federation.policy import Noise
from foundation.federation.privacy.accountant import epsilon_of, noise_for

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class BankSettings(BaseModel):
    """What leaves a site for the bank in a round, and how it is protected.

    Args:
        modalities: whose embeddings leave.
        epsilon: of one release of a patient, all its modalities together; the noise follows from it.
        noise: instead of it, the standard deviation in each direction; an embedding is of length 1.
        delta: of one release, and of a run.
        share: of a site's train patients to draw in a round.
        limit: patients to draw in a round at most.
        least: rows of a modality below which none of it leaves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modalities: tuple[Name, ...] = Field(min_length=1, max_length=40)
    epsilon: Positive | None = None
    noise: Positive | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    limit: Annotated[int, Field(ge=1, le=100_000)] = 256
    least: Annotated[int, Field(ge=1, le=100_000)] = 10

    @model_validator(mode="after")
    def _one_of_two(self) -> "BankSettings":
        if (self.epsilon is None) == (self.noise is None):
            raise ValueError("give either epsilon or noise")
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError("a modality stands twice")
        return self

    @classmethod
    def read(cls, **content: Any) -> "BankSettings":
        """The config's `bank`.

        Raises:
            UserError: naming the field.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["bank", *map(str, first["loc"])])
            raise UserError(f"{where}: {first['msg']}; see pretrain/federated/bank/settings.py") from error

    @property
    def sensitivity(self) -> float:
        """How far a patient's embeddings can move: across the unit sphere, in every modality at once."""
        return 2 * math.sqrt(len(self.modalities))

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in each direction."""
        if self.noise is not None:
            return self.noise
        assert self.epsilon is not None
        return self.sensitivity * noise_for(self.epsilon, self.delta)

    @property
    def promise(self) -> Noise:
        """The protection of a patient's embeddings, for a site's policy; each is of length 1."""
        return Noise(self.deviation / self.sensitivity, 1.0)

    def spent(self, releases: int = 1) -> Spent:
        """What a patient has spent who was drawn so often; count a run's rounds, for anyone may have been in all.

        Releases by the Gaussian mechanism compose exactly (see `foundation.federation.privacy.accountant`).
        """
        if not releases:
            return Spent()
        mean = math.sqrt(releases) * self.sensitivity / self.deviation
        return Spent(epsilon_of(mean, self.delta), self.delta)


def bank_of(cfg: DictConfig) -> BankSettings | None:
    """What a run's config says of a bank; None where it has none.

    Raises:
        UserError: naming the field that is wrong.
    """
    content = cfg.get("bank")
    if content is None:
        return None
    if not isinstance(content, DictConfig):
        raise UserError(f"bank: found {content!r}; choose bank=gaussian, or leave bank=null")
    return BankSettings.read(**plain(content))
