"""Training a head: fit, take the best weights, calibrate, save."""

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from finetune.embeddings import EmbeddedCohort
from finetune.exact import feature_cache, fit_by_sums, fit_exactly
from finetune.features import FeatureCache
from finetune.heads.base import Head, Targets
from finetune.heads.zero_shot import ZeroShot
from finetune.learning import kept
from finetune.learning.base import Learning, release_of
from finetune.module import FinetuneModule
from finetune.predictor import RELIABILITY, SUBSETS
from finetune.private import check, train_privately
from finetune.reliability.fit import Settings
from finetune.reliability.steps import fit_after_steps, subset_scores
from finetune.subset_calibration import Settings as Support
from finetune.subset_calibration import fit_subsets
from finetune.task_file import FILE, FORMAT
from foundation.command import instantiate, plain
from foundation.data.dataset import CohortModule, PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.engine import run
from foundation.engine.checkpoints import find_checkpoint
from foundation.engine.run import Criterion, RunSettings
from foundation.engine.trainer import seeded
from foundation.errors import UserError
from foundation.files import write_json
from foundation.run_record import is_main_process
from foundation.tensors import write_tensors

T = TypeVar("T")


def fit(
    cfg: DictConfig, encoder: MultimodalEncoder, head: Head, train: PatientDataset, validation: PatientDataset
) -> tuple[FinetuneModule, dict[str, float]]:
    """Trains, goes back to the weights of the best validation, and calibrates there; experts are fitted exactly.

    A zero-shot head learns nothing: its prompts are embedded.

    On several processes each calls it; only the first one's module has the trained weights.

    Raises:
        UserError: if a part has too few patients, a setting cannot be, or there is nothing to resume from.
    """
    # Read before anything is trained: what is wrong with them must not come to light at the run's end.
    calibration, reliability = _settings(cfg, "calibration", Support), _settings(cfg, "reliability", Settings)
    for name, part in (("train", train), ("validation", validation)):
        if len(part) < 2 and cfg.method != "sums":
            raise UserError(f"task.{cfg.task.name}: {len(part)} patients to {name}; the target must be known for more")
    if head.reads_features:
        module = FinetuneModule(encoder, head, frozen=True)
        if not is_main_process():
            return module, {}
        if cfg.method == "sums":
            module.sums = fit_by_sums(cfg, feature_cache(cfg, encoder, train), head, train, validation)
            return module, {}
        metrics, module.reliability = fit_exactly(
            feature_cache(cfg, encoder, train), head, train, validation, reliability
        )
        return module, metrics
    if isinstance(head, ZeroShot):  # its prompts are all that it knows
        _check_untrained(cfg)
        head.describe(encoder)
        return FinetuneModule(encoder, head, frozen=True).eval(), {}
    criterion = _criterion(cfg, head)
    private = None if cfg.private is None else check(cfg, head, len(train))
    keeps = _settings(cfg, "keeps", kept.Settings) or kept.Settings()
    keeps.check(private is not None)
    learning = None if cfg.get("learning") is None else _learning(cfg)
    release = None if learning is None else release_of(Path(cfg.pretrained), head, train.modalities, train.drop_inputs)
    if release is not None:
        head.load_state_dict(release.head.state_dict())
    module = FinetuneModule(encoder, head, cfg.frozen, **plain(cfg.optimizer), total_steps=cfg.steps)
    if learning is not None and release is not None:
        learning.begin(module, release, Path(cfg.pretrained), train)
        module.learning = learning
    module.train()
    if cfg.frozen:
        encoder.look_at_all()  # it learns nothing from seeing less
    data = _cohort(cfg, encoder, train, validation)
    if private is None:
        module, metrics = _train(cfg, module, data, criterion)
        if not is_main_process():
            return module, metrics
    else:
        with seeded(cfg.seed):
            metrics, module.privacy = train_privately(cfg, module, train, validation, private)
    module.cpu().eval()
    if learning is not None:
        learning.end(module, Path(cfg.output))
    module.encoder.look_at_all()  # calibrated on what will be predicted from
    scores, targets = score(module, validation, data)
    none = scores[:0], {name: value[:0] for name, value in targets.items()}
    # Under privacy nothing of a training patient counts but the noisy gradients.
    module.head.calibrate(scores, targets, score(module, train, data) if private is None else none)
    if private is None:
        _fit_subsets(cfg, module, train, validation, targets, calibration, reliability)
        gone_on = None if learning is None else Path(cfg.pretrained)
        kept.keep(keeps, module, train, data, Path(cfg.output), gone_on, cfg.seed)
    return module, metrics


def _learning(cfg: DictConfig) -> Learning:
    """How the run goes on from the release in `pretrained`.

    Raises:
        UserError: if that does not go with another setting.
    """
    learning: Learning = instantiate(cfg.learning)
    if cfg.private is not None:
        raise UserError("private: earlier patients' share of a release is not protected anew; set learning=null")
    if "strategy" in cfg.trainer or cfg.trainer.get("devices", 1) != 1 or cfg.trainer.get("num_nodes", 1) != 1:
        raise UserError("trainer: a run that goes on from a release is one process; set trainer=cpu or trainer=gpu")
    if learning.frozen is not None and learning.frozen != cfg.frozen:
        words = str(learning.frozen).lower()
        raise UserError(f"frozen: found {str(cfg.frozen).lower()}, and {type(learning).__name__} needs frozen={words}")
    return learning


def _fit_subsets(
    cfg: DictConfig,
    module: FinetuneModule,
    train: PatientDataset,
    validation: PatientDataset,
    targets: Targets,
    calibration: Support | None,
    reliability: Settings | None,
) -> None:
    """What is fitted by subset of modalities: calibration, and how far answers from it can be relied on."""
    if calibration is None and reliability is None:
        return
    scores = subset_scores(module.encoder, module.head, validation)
    if calibration is not None:
        module.subsets = fit_subsets(module.head, validation.modalities, scores, targets, calibration)
    if reliability is not None:
        # Features of an encoder that this run trained are of no use to another.
        kept = Path(cfg.embeddings) if cfg.frozen and cfg.embeddings is not None else None
        features = FeatureCache(kept, module.encoder, train.cohort, train.drop_inputs)
        subsets = module.subsets
        answered = scores if subsets is None else lambda names: subsets.of_subset(scores(names), names)
        module.reliability = fit_after_steps(features, module.head, train, validation, answered, reliability)


def unread(cfg: DictConfig, head: Head) -> list[str]:
    """Settings that a head which learns nothing does not read, though they are set, in a line."""
    names = [name for name in ("calibration", "reliability") if cfg[name] is not None]
    if not isinstance(head, ZeroShot) or head.reads_features or not names:
        return []
    finding = "not fitted, for a zero-shot head sees no label: its chances are not calibrated, and it never abstains"
    return [f"{' and '.join(names)}: {finding}"]


def _check_untrained(cfg: DictConfig) -> None:
    """Refuses settings of training beside a head that learns nothing: privacy, and the best of no weights.

    Raises:
        UserError: naming the setting.
    """
    if cfg.private is not None:
        raise UserError("private: a zero-shot head sees no label, so there is nothing to protect; set private=null")
    if cfg.best_by != "loss":
        raise UserError(f"best_by: found {cfg.best_by!r}, but a zero-shot head has no steps to choose from; drop it")


def _settings(cfg: DictConfig, setting: str, kind: type[T]) -> T | None:
    """A part of the config, read into its class."""
    if cfg[setting] is None:
        return None
    content, known = plain(cfg[setting]), [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in content:
        if name not in known:
            raise UserError(f"{setting}.{name}: no such setting; there are {', '.join(known)}")
    return kind(**content)


def _cohort(
    cfg: DictConfig, encoder: MultimodalEncoder, train: PatientDataset, validation: PatientDataset
) -> CohortModule:
    """Batches of inputs; of embeddings, computed once, where the encoder is frozen and nothing is augmented."""
    settings: dict[str, Any] = {
        "batch_size": cfg.data.batch_size,
        "seed": cfg.seed,
        "modality_dropout": cfg.data.modality_dropout,
        "num_workers": cfg.data.num_workers,
        "prefetch_factor": cfg.data.prefetch_factor,
        "pin_memory": cfg.data.pin_memory,
    }
    augment = not cfg.frozen if cfg.data.augment is None else cfg.data.augment
    if cfg.frozen and not augment and cfg.private is None and cfg.embeddings is not None:
        return EmbeddedCohort(Path(cfg.embeddings), train, validation, encoder, **settings)
    return CohortModule(train, validation, encoder, augment=augment, **settings)


def _criterion(cfg: DictConfig, head: Head) -> Criterion:
    """What `best_by` asks for: the loss, or the head's first metric, of which more is better."""
    primary = next(iter(head.metrics()))
    if cfg.best_by not in ("loss", primary):
        raise UserError(f"best_by: found {cfg.best_by!r}; choose loss or {primary}")
    learns = (lambda name: name.startswith("head.")) if cfg.frozen else (lambda name: True)
    return Criterion(f"validation/{cfg.best_by}", cfg.best_by == primary, learns)


def _train(
    cfg: DictConfig, module: FinetuneModule, data: CohortModule, criterion: Criterion
) -> tuple[FinetuneModule, dict[str, float]]:
    """The run; a module with the weights of the best validation, and metrics."""
    output = Path(cfg.output)
    resume = find_checkpoint(output) if cfg.resume else None
    # DeepSpeed leaves the module that it trained in parts and in its own precision.
    whole = copy.deepcopy(module) if "strategy" in cfg.trainer and is_main_process() else module
    result = run.train(module, data, RunSettings.read(cfg, output, cfg.steps), resume, criterion)
    metrics = dict(result.metrics)
    if result.best is not None and result.best.value is not None:
        metrics[f"validation/best_{cfg.best_by}"] = result.best.value
    if is_main_process():
        whole.load_state_dict(result.best_state())
    return whole, metrics


@torch.no_grad()
def score(module: FinetuneModule, part: PatientDataset, data: CohortModule) -> tuple[Tensor, Targets]:
    """Raw scores `[patients, outputs]` and targets `[patients]` of a part, as at evaluation."""
    rows, collate = data.source(part, train=False)
    loader = DataLoader(rows, batch_size=data.batch_size, collate_fn=collate)
    parts = [(module.head(module.embed(batch)), batch.targets) for batch in loader]
    targets = {name: torch.cat([part[name] for _, part in parts]) for name in parts[0][1]}
    return torch.cat([scores for scores, _ in parts]), targets


def save(module: FinetuneModule, task: DictConfig, modalities: list[str], output: Path) -> None:
    """Writes encoder folder, head, its reliability and task description, each under a temporary name first."""
    module.encoder.save_pretrained(output / "encoder")
    head = module.head
    write_tensors(output / "head.safetensors", head.state_dict())
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": task.name,
        "kind": head.kind,
        "head": {"type": f"{type(head).__module__}.{type(head).__qualname__}", "settings": head.settings()},
        "modalities": modalities,
        "drop_inputs": plain(task.drop_inputs) if task.drop_inputs else {},
    }
    if module.reliability is not None:
        write_tensors(output / RELIABILITY, module.reliability.state_dict())
        content["reliability"] = module.reliability.settings()
    if module.sums is not None:
        module.sums.write(output)
    if module.subsets is not None:
        write_tensors(output / SUBSETS, module.subsets.state_dict())
        content["subsets"] = module.subsets.settings()
    write_json(output / FILE, content)
