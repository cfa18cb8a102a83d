"""The part of a plan that says how weights move."""

from typing import Annotated, Literal

from pydantic import Field

from foundation.contract import Part, Share


class Optimizer(Part):
    """How the weights move; in how many kernels is the site's own matter."""

    kind: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.05
    warmup: Share = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
