"""Report: free text through a transformers encoder."""

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from foundation.data.dictionary import DataDictionary
from foundation.masks import on_host, to_device
from foundation.modalities.base import Inputs, Modality, Tokens
from foundation.modalities.report.request import TextForm
from foundation.modalities.tuning import keep_no_activations, set_tuning

_WORDS = Path(__file__).with_name("words.txt")
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
        dropout: of the random encoder.
        max_length: word pieces kept, from the start.
        model: a local folder or hub name of a transformers encoder with its tokenizer, in safetensors; random BERT
            layers if null.
        tune: of the encoder: `full`, `frozen`, or `lora` adapters.
        lora_rank: of the adapters.
        mask_ratio: share of word pieces hidden in training, for masked text modelling.
        pooling: of the pieces to the token, `gated` or `transformer`.
        checkpoint_activations: compute the encoder's activations again in the backward pass instead of keeping them.
        tokenizer: set by `load`: the tokenizer saved with the weights.
        model_config: set by `load`: the transformers config saved with the weights.
    """

    name = "report"

    def __init__(
        self,
        width: int,
        layers: int = 2,
        dropout: float = 0.1,
        max_length: int = 128,
        model: str | None = None,
        tune: str = "full",
        lora_rank: int = 8,
        mask_ratio: float = 0.15,
        pooling: str = "gated",
        checkpoint_activations: bool = False,
        tokenizer: Any = None,
        model_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(width, pooling)
        self.max_length = max_length
        self.tune = tune
        self.lora_rank = lora_rank
        self.mask_ratio = mask_ratio
        if model is not None:
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.text = AutoModel.from_pretrained(model, use_safetensors=True)  # other forms may hold code
        else:
            self.tokenizer = tokenizer or clinical_tokenizer()
            self.text = self._from_config(model_config, layers, dropout)
        self.text.pooler = None  # pooling is our own; an unused layer would only travel
        if checkpoint_activations:
            keep_no_activations(self.text, f"modality.{self.name}")
        set_tuning(self.text, tune, lora_rank, f"modality.{self.name}")
        self.to_width = torch.nn.Linear(self.text.config.hidden_size, width)

    def _from_config(self, model_config: dict[str, Any] | None, layers: int, dropout: float) -> Any:
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
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        return BertModel(config)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "max_length": self.max_length,
            "tune": self.tune,
            "lora_rank": self.lora_rank,
            "mask_ratio": self.mask_ratio,
            "model_config": {k: v for k, v in self.text.config.to_dict().items() if not k.startswith("_")},
        }

    def request_form(self, dictionary: DataDictionary) -> TextForm:
        return TextForm()

    def transform(self, raw: str, generator: torch.Generator | None) -> Inputs:
        """Text as word-piece numbers `[pieces]`; `mask` is true where there is a piece.

        In training also `corrupted`, the same with some pieces hidden, and `masked`, true where one was.
        """
        numbers = self.tokenizer(raw, truncation=True, max_length=self.max_length)["input_ids"]
        inputs = {"pieces": torch.tensor(numbers), "mask": torch.ones(len(numbers), dtype=torch.bool)}
        if generator is not None:
            inputs["corrupted"], inputs["masked"] = self._corrupt(inputs["pieces"], generator)
        return inputs

    def _corrupt(self, pieces: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Of the hidden pieces, 80 % become [MASK], 10 % any piece and 10 % stay (BERT; Devlin et al. 2019)."""
        special = torch.tensor([int(piece) in self.tokenizer.all_special_ids for piece in pieces])
        masked = (torch.rand(len(pieces), generator=generator) < self.mask_ratio) & ~special
        how = torch.rand(len(pieces), generator=generator)
        other = torch.randint(len(self.tokenizer), (len(pieces),), generator=generator)
        corrupted = torch.where(masked & (how < 0.8), torch.full_like(pieces, self.tokenizer.mask_token_id), pieces)
        return torch.where(masked & (how >= 0.9), other, corrupted), masked

    def blank(self) -> str:
        return ""

    def read(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Every piece in the light of the others: `[present, pieces, width]`."""
        hidden = self.text(input_ids=pieces, attention_mask=self._attended(mask)).last_hidden_state
        read: Tensor = self.to_width(hidden)
        return read

    def _attended(self, mask: Tensor) -> Tensor | None:
        """The mask as the encoder wants it.

        transformers asks the device whether a mask of two dimensions is true everywhere, to leave it out; the host
        knows that. One of four dimensions it takes as it is.
        """
        if not isinstance(self.text, BertModel) or self.text.config._attn_implementation != "sdpa":
            return mask.long()
        pieces = mask.shape[1]
        return None if bool(on_host(mask).all()) else mask[:, None, None].expand(-1, 1, pieces, pieces)

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        pooled = self.pool(self.read(inputs["pieces"], mask), mask)[:, None]
        return Tokens(pooled, to_device(on_host(mask)[:, :1], mask.device))

    def save_assets(self, folder: Path) -> None:
        # Set anew at every call: the file must not tell whether the tokenizer has been used.
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.save_pretrained(folder / "tokenizer")

    def train(self, mode: bool = True) -> "Report":
        """A frozen encoder stays in evaluation mode: no dropout."""
        super().train(mode)
        if self.tune == "frozen":
            self.text.eval()
        return self

    @classmethod
    def load(cls, settings: dict[str, Any], folder: Path) -> "Report":
        return cls(tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"), **settings)
