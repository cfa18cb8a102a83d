"""The parts of a plan that say how updates are combined, narrowed, noised and masked."""

from typing import Annotated, Literal

from pydantic import Field

from foundation.contract import Count, Group, Name, Part, Pattern, Positive, Seconds


class Combination(Part):
    """What the server makes of updates, as far as it concerns a site.

    Attributes:
        kind: the strategy's class, in small letters.
        proximal: FedProx's mu.
        scaffold: whether a site keeps a control variate (SCAFFOLD).
        local: patterns of parameters that stay at the site; `batch_norm`, `buffers` and `group:<name>` among them.
    """

    kind: Name = "fedavg"
    proximal: Annotated[float, Field(ge=0, le=1000)] = 0.0
    scaffold: bool = False
    local: Annotated[tuple[Pattern, ...], Field(max_length=20_000)] = ()


class Clipping(Part):
    """To which length an update is clipped; see `foundation.federation.privacy.clipping`."""

    adaptive: bool = False
    norm: Positive
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    count_noise: Positive | None = None


class SiteNoise(Part):
    """Differential privacy of whole updates; see `foundation.federation.privacy.mechanism`."""

    place: Literal["server", "site", "shares"]
    noise_multiplier: Positive
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clipping: Clipping
    contributors: Annotated[dict[Group, Count], Field(max_length=1000)] = Field({})
    attendance: Annotated[float, Field(gt=0, le=1)] = 1.0
    training_metrics: bool = False


class Narrowing(Part):
    """How differences travel; see `foundation.federation.wire.compression`."""

    kind: Literal["fp32", "bf16", "int8"] = "fp32"
    feedback: bool = True
    stochastic: bool = False
    block: Annotated[int, Field(ge=1, le=1 << 20)] = 256


class Masking(Part):
    """Secure aggregation; see `foundation.federation.secure.settings`."""

    norm: Positive = 10.0
    norms: Annotated[dict[Group, Positive], Field(max_length=1000)] = Field({})
    statistic_range: Positive = 1000.0
    statistics: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ("*.running_mean", "*.running_var")
    minimum_sites: Annotated[int, Field(ge=2, le=1000)] = 3
    minimum_contributors: Annotated[int, Field(ge=1, le=1000)] = 2
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.6
    exchange_seconds: Seconds = 300.0
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
