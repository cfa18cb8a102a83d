"""Classification by words: which class's prompts lie nearest to a patient (CLIP; Radford et al. 2021)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from finetune.heads.base import Blocks
from finetune.heads.classification import Classification
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError

TEXT = "report"  # the modality whose tower reads prompts


class ZeroShot(Classification):
    """Cosines between a patient's aligned embedding and the mean embedding of each class's prompts.

    Nothing of it is learnt from labels, so its probabilities are not calibrated. With `blocks` it is the plain
    classifier on features that stands beside it as a baseline.

    Args:
        width: of the embeddings.
        target: label column that holds the class index.
        prompts: by class, in the order of `classes`, what a text says of it.
        templates: sentences around a prompt, which stands in place of `{}`; a class is the mean of all of them.
        classes: names; see `finetune.heads.classification`.
        scale: by which cosines are multiplied before the softmax, one over the temperature.
        class_weights: of the baseline's loss.
        dropout: of none.
        blocks: sizes of blocks of features, to be read by experts instead.

    Raises:
        UserError: if a class has no prompt, prompts are no lists of texts, or a template has no place for one.
    """

    texts: Tensor

    def __init__(
        self,
        width: int,
        target: str,
        prompts: Sequence[Sequence[str]],
        templates: Sequence[str] = ("{}",),
        classes: list[str] | None = None,
        scale: float = 10.0,
        class_weights: list[float] | None = None,
        dropout: float = 0.0,
        blocks: Blocks | None = None,
    ) -> None:
        super().__init__(width, target, classes, class_weights, dropout, blocks)
        if not _is_list(prompts) or not all(_is_list(texts) and all(map(_is_text, texts)) for texts in prompts):
            raise UserError(
                f"task.head.prompts: found {prompts}; give a list of texts for each class, in the order of its classes"
            )
        if not _is_list(templates):
            raise UserError(f"task.head.templates: found {templates!r}; give a list of sentences")
        self.prompts = [list(texts) for texts in prompts]
        self.templates = [str(template) for template in templates]
        self.scale = float(scale)
        if len(self.prompts) != len(self.classes) or not all(self.prompts):
            raise UserError(
                f"task.head.prompts: {len(self.prompts)} lists of prompts for {len(self.classes)} classes "
                f"({', '.join(self.classes)}); give each class a list of one or more, in this order"
            )
        wrong = next((template for template in self.templates if template.count("{}") != 1), None)
        if wrong is not None or not self.templates:
            raise UserError(f"task.head.templates: found {wrong!r}; each holds {{}} once, where the prompt goes")
        if not 0 < self.scale < math.inf:
            raise UserError(f"task.head.scale: found {self.scale:g}; give a finite number above 0")
        if blocks is None:
            self.score = nn.Identity()  # cosines need no layer
        self.register_buffer("texts", torch.zeros(len(self.classes), width))

    @property
    def reads_aligned(self) -> bool:
        return not self.reads_features

    def settings(self) -> dict[str, Any]:
        more = {"prompts": self.prompts, "templates": self.templates, "scale": self.scale}
        return super().settings() | more

    @torch.no_grad()
    def describe(self, encoder: MultimodalEncoder) -> None:
        """Embeds the prompts by the encoder's tower of text.

        Raises:
            UserError: if it has none.
        """
        if TEXT not in encoder.modalities:
            raise UserError(f"pretrained: the encoder reads no text; it has {', '.join(encoder.modalities)}")
        encoder.eval()
        for place, prompts in enumerate(self.prompts):
            texts = [template.replace("{}", prompt) for prompt in prompts for template in self.templates]
            batch = encoder.encode_samples([{TEXT: text} for text in texts])
            self.texts[place] = functional.normalize(encoder(batch).embeddings[TEXT].mean(dim=0), dim=0)

    def forward(self, fused: Float[Tensor, "batch width"]) -> Float[Tensor, "batch outputs"]:
        """Scaled cosines of aligned embeddings of unit length; of features, as experts score them."""
        return super().forward(fused) if self.reads_features else self.scale * fused @ self.texts.T


def _is_list(value: object) -> bool:
    """A text is a sequence too, of letters, and a mapping of names: neither is a list of prompts."""
    return isinstance(value, list | tuple)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
