"""Report: free text through a transformers encoder."""

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from foundation.modalities.base import Inputs, Modality, Tokens

_WORDS = Path(__file__).with_name("report_words.txt")
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def clinical_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece over a shipped list of clinical words; any other word falls apart into letters, so none is unknown."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *_WORDS.read_text().split()]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


class Report(Modality):
    """A report's words, pooled to one token.

    Args:
        width: of the token.
        layers: of the random encoder, when no model is named.
        max_length: words pieces kept, from the start.
        model: a local folder or hub name of a transformers encoder with its tokenizer; random BERT layers if null.
        tokenizer: set by `load`: the tokenizer saved with the weights.
        model_config: set by `load`: the transformers config saved with the weights.
    """

    name = "report"

    def __init__(
        self,
        width: int,
        layers: int = 2,
        max_length: int = 128,
        model: str | None = None,
        tokenizer: Any = None,
        model_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(width)
        self.max_length = max_length
        if model is not None:
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.text = AutoModel.from_pretrained(model)
        else:
            self.tokenizer = tokenizer or clinical_tokenizer()
            self.text = self._from_config(model_config, layers)
        self.text.pooler = None  # pooling is our own; an unused layer would only travel
        self.to_width = torch.nn.Linear(self.text.config.hidden_size, width)

    def _from_config(self, model_config: dict[str, Any] | None, layers: int) -> Any:
        if model_config is not None:
            kind = dict(model_config)
            return AutoModel.from_config(AutoConfig.for_model(kind.pop("model_type"), **kind))
        config = BertConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=self.width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, self.width // 32),
            intermediate_size=2 * self.width,
            max_position_embeddings=512,
        )
        return BertModel(config)

    def settings(self) -> dict[str, Any]:
        return {
            "width": self.width,
            "max_length": self.max_length,
            "model_config": {k: v for k, v in self.text.config.to_dict().items() if not k.startswith("_")},
        }

    def transform(self, raw: str, generator: torch.Generator | None) -> Inputs:
        """Text as word-piece numbers `[pieces]`; `mask` is true where there is a piece."""
        numbers = self.tokenizer(raw, truncation=True, max_length=self.max_length)["input_ids"]
        return {"pieces": torch.tensor(numbers), "mask": torch.ones(len(numbers), dtype=torch.bool)}

    def blank(self) -> str:
        return ""

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        hidden = self.text(input_ids=inputs["pieces"], attention_mask=mask.long()).last_hidden_state
        values = self.to_width(hidden)
        pooled = self.pool(values, mask)[:, None]
        return Tokens(pooled, mask[:, :1])

    def save_assets(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder / "tokenizer")

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "Report":
        return cls(tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"), **settings)
