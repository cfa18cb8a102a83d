"""The multimodal encoder: one encoder a modality, fusion over whatever subset a patient has, one portable folder."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foundation.batch import Batch
from foundation.distributed import several_processes
from foundation.documents import built_from, class_named, validated
from foundation.encoder_file import EncoderFile
from foundation.errors import UserError
from foundation.files import read_json, replacing_folder, write_json
from foundation.fusion import Fusion
from foundation.gradient_cache import encode_again, join
from foundation.masks import send
from foundation.modalities.base import Inputs, Modality, Tokens
from foundation.modalities.tuning import repeated_blocks
from foundation.output import EncoderOutput
from foundation.tensors import load_weights, write_tensors

_FORMAT = 1
_MODALITIES = "foundation.modalities."
_ADVICE = "copy the folder again"


class MultimodalEncoder(nn.Module):
    """Encodes patients who have any non-empty subset of the modalities.

    Args:
        modalities: by name.
        width: of tokens and embeddings.
        fusion_layers: transformer blocks over all tokens of a patient.
        dropout: inside fusion.
        patients_at_once: in training, how many patients' activations are held at a time; the whole batch's if None. See
            `foundation.gradient_cache`.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        width: int,
        fusion_layers: int = 2,
        dropout: float = 0.1,
        patients_at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.patients_at_once = patients_at_once
        self.fusion_settings = {"layers": fusion_layers, "dropout": dropout}
        self.modalities = nn.ModuleDict(modalities)
        self.fusion = Fusion(list(modalities), width, layers=fusion_layers, dropout=dropout)

    def forward(self, batch: Batch) -> EncoderOutput:
        if not self.training:
            return self._encode(batch)
        for name, module in self.modalities.items():
            if module.training:  # one that is held still keeps its statistics, too
                module.observe(batch.inputs.get(name))  # type: ignore[operator]
        if self.patients_at_once is None or len(batch) <= self.patients_at_once:
            return self._encode(batch)
        return join([encode_again(self, self._encode, part) for part in batch.split(self.patients_at_once)])

    def output_and_features(
        self, batch: Batch, modalities: Sequence[str]
    ) -> tuple[EncoderOutput, Float[Tensor, "batch features"]]:
        """`forward` and `features` of the same batch, in evaluation: backbones pass over it once, not twice."""
        both = {
            name: self.modalities[name].tokens_and_features(batch.inputs[name])  # type: ignore[operator]
            for name in modalities
            if name in batch.inputs
        }
        output = self._encode(batch, {name: tokens for name, (tokens, _) in both.items()})
        return output, self._side_by_side(batch, modalities, {name: blocks for name, (_, blocks) in both.items()})

    def _encode(self, batch: Batch, known: Mapping[str, Tokens] | None = None) -> EncoderOutput:
        """See `forward`; tokens that are known already are not made again."""
        known = known or {}
        tokens: dict[str, Tokens] = {}
        embeddings: dict[str, Tensor] = {}
        placeholders: dict[str, Tokens] = {}
        together = self.training and several_processes()
        zero_loss = next(self.parameters()).new_zeros(1) if together else None
        for name, module in self.modalities.items():
            if name in batch.inputs:
                tokens[name] = known[name] if name in known else module(batch.inputs[name])
                embeddings[name] = module.embed(tokens[name])  # type: ignore[operator]
            elif together:
                placeholders[name] = self._placeholder(name)
            if zero_loss is not None:
                embedding = embeddings[name] if name in embeddings else module.embed(placeholders[name])  # type: ignore[operator]
                zero_loss = zero_loss + 0 * embedding.sum()
        rows = {name: batch.rows(name) for name in tokens}
        fused = self.fusion(tokens, rows, len(batch), placeholders)
        return EncoderOutput(fused, embeddings, tokens, placeholders, zero_loss)

    def feature_sizes(self, modalities: Sequence[str]) -> dict[str, int]:
        """The blocks of plain features of some modalities, in order, and how many numbers each has."""
        return {
            block: size
            for name in modalities
            for block, size in self.modalities[name].feature_sizes().items()  # type: ignore[operator]
        }

    def features(self, batch: Batch, modalities: Sequence[str]) -> Float[Tensor, "batch features"]:
        """Plain features of some modalities side by side (`Modality.features`), NaN where a patient has none."""
        inputs = {name: batch.inputs[name] for name in modalities if name in batch.inputs}
        blocks = {name: self.modalities[name].features(some) for name, some in inputs.items()}  # type: ignore[operator]
        return self._side_by_side(batch, modalities, blocks)

    def _side_by_side(
        self, batch: Batch, modalities: Sequence[str], blocks: Mapping[str, Mapping[str, Tensor]]
    ) -> Float[Tensor, "batch features"]:
        """Blocks of features of those who have a modality, by modality, as rows of all."""
        parts = []
        for name in modalities:
            sizes = self.modalities[name].feature_sizes()  # type: ignore[operator]
            values = next(self.parameters()).new_full((len(batch), sum(sizes.values())), float("nan"))
            if name in blocks:
                some = torch.cat([blocks[name][block].to(values.dtype) for block in sizes], dim=1)
                values = values.index_copy(0, send(batch.rows(name), values.device), some)
            parts.append(values)
        return torch.cat(parts, dim=1)

    def _placeholder(self, name: str) -> Tokens:
        """Tokens of a blank input.

        Processes that train together reduce gradients (and under ZeRO-3 gather weights) module by module, in one order:
        one that skipped a modality which its batch lacks would block or corrupt the others.
        """
        module = self.modalities[name]
        module.eval()  # a blank input must not enter running statistics
        tokens: Tokens = module(self.blank_inputs(name))
        module.train()
        return tokens

    def blank_inputs(self, name: str) -> dict[str, Tensor]:
        """What a modality's encoder is given of one patient of whom nothing is known."""
        module = self.modalities[name]
        inputs = module.collate([module.transform(module.blank(), None)])  # type: ignore[operator]
        like = next(self.parameters())
        kind = {name: like.dtype if value.is_floating_point() else value.dtype for name, value in inputs.items()}
        return {name: value.to(like.device, kind[name]) for name, value in inputs.items()}

    def encode_samples(
        self,
        samples: list[dict[str, Any]],
        patients: list[str] | None = None,
        generators: Sequence[torch.Generator | None] | None = None,
    ) -> Batch:
        """Raw samples, as a cohort or a request gives them, as a batch.

        Args:
            samples: by modality, only what the patient has; modalities the encoder lacks are left out.
            patients: ids; positions if not given.
            generators: given in training, one a sample, for augmentation and corruption: what a patient gets does not
                depend on who else is in the batch.
        """
        generators = generators or [None] * len(samples)
        rows = [self.transform(sample, generator) for sample, generator in zip(samples, generators, strict=True)]
        return self.collate(rows, patients)

    def transform(self, sample: Mapping[str, Any], generator: torch.Generator | None = None) -> dict[str, Inputs]:
        """One patient's raw sample as tensors, by modality; those that the encoder lacks are left out."""
        modules = self.modalities.items()
        return {name: module.transform(sample[name], generator) for name, module in modules if name in sample}  # type: ignore[operator]

    def collate(self, rows: Sequence[Mapping[str, Inputs]], patients: list[str] | None = None) -> Batch:
        """Patients as `transform` gives them, as a batch; ids are positions if not given."""
        present, inputs = {}, {}
        for name, module in self.modalities.items():
            present[name] = torch.tensor([name in row for row in rows])
            having = [row[name] for row in rows if name in row]
            if having:
                inputs[name] = module.collate(having)  # type: ignore[operator]
        return Batch(patients or [str(i) for i in range(len(rows))], present, inputs)

    def look_at_all(self) -> None:
        """From now on as much of a patient is looked at as a modality's bound at inference allows."""
        for module in self.modalities.values():
            module.looks_at_all = True  # type: ignore[assignment]

    @contextmanager
    def looking_at_all(self) -> Iterator[None]:
        """The same for a while, of an encoder that goes on training."""
        before = {module: module.looks_at_all for module in self.modalities.values()}
        self.look_at_all()
        try:
            yield
        finally:
            for module, looks in before.items():
                module.looks_at_all = looks

    def coverage(self, values: Callable[[str], Iterable[Any]]) -> dict[str, Any]:
        """How much is read of patients' raw values, by modality; those of which everything is are left out.

        Args:
            values: of a modality, a patient's each.
        """
        read = {name: module.coverage(values(name)) for name, module in self.modalities.items()}  # type: ignore[operator]
        return {name: facts for name, facts in read.items() if facts}

    def compile_backbones(self, **settings: Any) -> None:
        """Compiles the image and text backbones in place, with `torch.compile`'s settings; weights keep their names.

        A transformer is compiled block by block: the compiler works once for all of them, and as fast is what it makes.
        """
        for module in self.modalities.values():
            for name in ("backbone", "text"):
                if hasattr(module, name):
                    backbone = getattr(module, name)
                    for part in repeated_blocks(backbone) or [backbone]:
                        part.compile(**settings)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the portable encoder folder: to a temporary name first, then renamed."""
        with replacing_folder(folder) as temporary:
            self.save_assets(temporary)
            write_tensors(temporary / "model.safetensors", self.state_dict())

    def save_assets(self, folder: Path) -> None:
        """Writes all of the encoder folder but the weights: config, vocabularies, tokenizer."""
        modalities = {}
        for name, module in self.modalities.items():
            modalities[name] = {
                "type": f"{type(module).__module__}.{type(module).__qualname__}",
                "settings": module.settings(),  # type: ignore[operator]
            }
            module.save_assets(folder)  # type: ignore[operator]
        config = {"format": _FORMAT, "width": self.width, "fusion": self.fusion_settings, "modalities": modalities}
        write_json(folder / "config.json", config, sort_keys=False)  # the order of modalities is the encoder's

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "MultimodalEncoder":
        """Rebuilds an encoder from its folder, with no pickle on the way.

        Raises:
            UserError: if a file is missing or names a class outside the modalities' package.
        """
        folder = Path(folder)
        for file in ("config.json", "model.safetensors"):
            if not (folder / file).is_file():
                raise UserError(f"{folder}: no {file}, so it is no encoder folder; give the `encoder` folder of a run")
        path = folder / "config.json"
        content = read_json(path, _ADVICE)
        if content.get("format") != _FORMAT:
            raise UserError(f"{path}: format {content.get('format')!r}, this release reads {_FORMAT}")
        config = validated(EncoderFile, content, path, _ADVICE)
        modalities = {}
        for name, entry in config.modalities.items():
            with built_from(path, f"modalities.{name}.settings", _ADVICE):
                modalities[name] = _modality_class(entry.type, folder).load(entry.settings, folder)
        with built_from(path, "width and fusion", _ADVICE):
            encoder = cls(modalities, config.width, fusion_layers=config.fusion.layers, dropout=config.fusion.dropout)
        load_weights(encoder, folder / "model.safetensors")
        return encoder.eval()


def _modality_class(path: str, folder: Path) -> type[Modality]:
    """Only our own modality classes may be named by a folder that came from outside."""
    if not path.startswith(_MODALITIES):
        raise UserError(f"{folder / 'config.json'}: modality type {path!r} is not under {_MODALITIES}*")
    kind = class_named(path, _MODALITIES)
    if not (isinstance(kind, type) and issubclass(kind, Modality)):
        raise UserError(f"{folder / 'config.json'}: {path!r} is no modality")
    return kind
