"""Report: free text through a transformers encoder."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.compiler import is_exporting
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from foundation.data.dictionary import DataDictionary
from foundation.errors import UserError
from foundation.masks import on_host, to_device
from foundation.modalities.base import Examined, Inputs, Modality, Tokens
from foundation.modalities.report.request import TextForm
from foundation.modalities.report.vocabulary import LENGTH, WINDOWS, coverage, learn_pieces, most_pieces, word_pieces
from foundation.modalities.report.windows import in_windows
from foundation.modalities.tuning import keep_no_activations, set_tuning


def clinical_tokenizer(pieces: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """WordPiece over a shipped list of clinical words and some more, as transformers takes it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=word_pieces(pieces),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


class Report(Modality):
    """A report's words, pooled to one token. A long one is read in overlapping windows, each by itself.

    Args:
        width: of the token.
        layers: of the random encoder, when no model is named.
        dropout: of the random encoder.
        max_length: word pieces of a window; a quarter of each is that of the one before.
        max_windows: of a report, from the start; what lies beyond is not read.
        pieces: that the vocabulary has beside the shipped words; see `learn`.
        model: a local folder or hub name of a transformers encoder with its tokenizer, in safetensors; random BERT
            layers if null.
        tune: of the encoder: `full`, `frozen`, or `lora` adapters.
        lora_rank: of the adapters.
        mask_ratio: share of word pieces hidden in training, for masked text modelling.
        pooling: of the pieces to the token, `gated` or `transformer`.
        checkpoint_activations: compute the encoder's activations again in the backward pass instead of keeping them.
        tokenizer: set by `load`: the tokenizer saved with the weights.
        model_config: set by `load`: the transformers config saved with the weights.

    Raises:
        UserError: if a window is longer than the model's positions.
    """

    name = "report"
    parts = "word pieces"
    several = True

    def __init__(
        self,
        width: int,
        layers: int = 2,
        dropout: float = 0.1,
        max_length: int = LENGTH,
        max_windows: int = WINDOWS,
        pieces: Sequence[str] = (),
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
        self.max_windows = max_windows
        self.tune = tune
        self.lora_rank = lora_rank
        self.mask_ratio = mask_ratio
        if model is not None:
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.text = AutoModel.from_pretrained(model, use_safetensors=True)  # other forms may hold code
        else:
            self.tokenizer = tokenizer or clinical_tokenizer(pieces)
            self.text = self._from_config(model_config, layers, dropout)
        positions = getattr(self.text.config, "max_position_embeddings", self.max_length)
        most = min(positions, self.tokenizer.model_max_length)
        if self.max_length > most:
            raise UserError(
                f"modality.{self.name}.max_length: {self.max_length}, but the model reads at most {most} pieces at "
                "once; lower it, longer reports are read in windows"
            )
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
            max_position_embeddings=max(512, self.max_length),
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        return BertModel(config)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "max_length": self.max_length,
            "max_windows": self.max_windows,
            "tune": self.tune,
            "lora_rank": self.lora_rank,
            "mask_ratio": self.mask_ratio,
            "model_config": {k: v for k, v in self.text.config.to_dict().items() if not k.startswith("_")},
        }

    @classmethod
    def needs(cls, dictionary: DataDictionary) -> dict[str, Any]:
        """Pieces that hospitals agreed on under `settings.report.pieces`: in a federation nobody sees all reports."""
        return dictionary.settings.get(cls.name, {})

    @classmethod
    def learn(cls, settings: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        """Word pieces of the training patients' reports, unless a model brings its own or the settings name them."""
        if settings.get("model") is not None or "pieces" in settings:
            return {}
        return {"pieces": learn_pieces(values)}

    def coverage(self, values: Iterable[Any]) -> dict[str, Any]:
        self.tokenizer.backend_tokenizer.no_truncation()  # which the last call may have set
        return coverage(values, self.tokenizer.backend_tokenizer, self.max_length, self.max_windows)

    def request_form(self, dictionary: DataDictionary) -> TextForm:
        return TextForm()

    def transform(self, raw: str, generator: torch.Generator | None) -> Inputs:
        """Text as word-piece numbers `[pieces]`; `mask` is true where there is a piece.

        The windows of a long text stand one after another, all but the last of `max_length` pieces. In training also
        `corrupted`, the same with some pieces hidden, and `masked`, true where one was.
        """
        backend = self.tokenizer.backend_tokenizer  # without what is around it, which takes as long again
        backend.no_padding()
        side = self.tokenizer.truncation_side
        backend.enable_truncation(self.max_length, stride=self.max_length // 4, direction=side)
        encoded = backend.encode(raw)
        windows = [encoded, *encoded.overflowing][: self.max_windows]
        numbers = [number for window in windows for number in window.ids]
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

    def examined(self, raw: str, inputs: Inputs) -> Examined:
        """Word pieces; those that two windows share count once."""
        backend = self.tokenizer.backend_tokenizer
        if len(inputs["pieces"]) < self.max_length:  # nothing was cut off
            count = len(inputs["pieces"]) - self.tokenizer.num_special_tokens_to_add()
            return Examined(self.parts, count, count)
        backend.no_truncation()  # which the last call may have set
        count = len(backend.encode(raw, add_special_tokens=False).ids)
        return Examined(self.parts, min(count, most_pieces(backend, self.max_length, self.max_windows)), count)

    def blank(self) -> str:
        return ""

    def read(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Every piece in the light of the others in its window: `[present, pieces, width]`."""
        return in_windows(self._read_window, pieces, mask, self.max_length)

    def _read_window(self, pieces: Tensor, mask: Tensor) -> Tensor:
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
        full = not is_exporting() and bool(on_host(mask).all())
        return None if full else mask[:, None, None].expand(-1, 1, pieces, pieces)

    def forward(self, inputs: Inputs) -> Tokens:
        mask = inputs["mask"]
        pooled = self.pool(self.read(inputs["pieces"], mask), mask)[:, None]
        return Tokens(pooled, to_device(on_host(mask)[:, :1], mask.device))

    def feature_sizes(self) -> dict[str, int]:
        return {self.name: len(self.tokenizer)}

    def features(self, inputs: Inputs) -> dict[str, Float[Tensor, "present pieces"]]:
        """How often each word piece stands in the text, as log(1 + count)."""
        pieces, mask = inputs["pieces"], inputs["mask"]
        counts = torch.zeros(pieces.shape[0], len(self.tokenizer), device=pieces.device)
        return {self.name: counts.scatter_add(1, pieces, mask.float()).log1p()}

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
