"""What a task head offers training, evaluation and the server."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

Targets = dict[str, Tensor]


class Head(nn.Module, ABC):
    """From the patient embedding to a prediction.

    Calibration lives in buffers, so it travels in the same file as the weights.

    Attributes:
        kind: of its predictions.
        separable: whether a batch's loss is a mean of its patients' own losses, none of which looks at another patient.
    """

    kind: ClassVar[Literal["classification", "survival"]]
    separable: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def needs(cls, targets: dict[str, NDArray[np.float64]], given: dict[str, Any]) -> dict[str, Any]:
        """Constructor arguments that come from the training patients' targets rather than from config.

        Args:
            targets: by label column, `[patients]`.
            given: the constructor arguments that config gives.

        Raises:
            UserError: if nothing can be learned from these targets.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""

    @abstractmethod
    def forward(self, fused: Float[Tensor, "batch width"]) -> Float[Tensor, "batch outputs"]:
        """Raw scores."""

    @abstractmethod
    def loss(self, scores: Float[Tensor, "batch outputs"], targets: Targets) -> Tensor | None:
        """Scalar loss of a batch; None where it holds nothing to learn from."""

    @abstractmethod
    def calibrate(
        self, scores: Float[Tensor, "validation outputs"], targets: Targets, train: tuple[Tensor, Targets]
    ) -> None:
        """Fits calibration on the validation patients, with the training patients' scores and targets at hand."""

    @abstractmethod
    def risk(self, scores: Float[Tensor, "batch outputs"]) -> Float[Tensor, " batch"]:
        """One number a patient that ranks: the higher, the likelier the event or the positive class."""

    @abstractmethod
    def predict(self, scores: Float[Tensor, "batch outputs"]) -> list[dict[str, Any]]:
        """Calibrated predictions, a dictionary of plain values a patient."""
