"""Heads under differential privacy by patient: DP-SGD (Abadi et al. 2016) with Opacus, on a frozen encoder.

Each patient's own gradient is clipped, and noise covers their sum. That protects a patient only if nobody else's loss
contains them, so a head's loss must be a mean over patients (`Head.separable`). Cox's partial likelihood is none: it
holds each patient against everybody still at risk, and clipping one patient's share of it bounds nothing. Contrastive
pretraining is none either, since every patient is a negative of the others; `python -m pretrain` has no such setting.

What is protected are the training patients: their gradients, and their labels too, which weigh no classes here.
Validation patients choose the best step and calibrate the head, and are not protected; nor is what pretraining saw.
"""

import secrets
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from omegaconf import DictConfig
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import DPOptimizer
from torch import Generator, Tensor

from finetune.heads.base import Head, Targets
from finetune.module import FinetuneModule
from foundation.batch import Batch
from foundation.command import plain
from foundation.data.dataset import Collate, PatientDataset
from foundation.data.sampler import Draw, generator_of
from foundation.errors import UserError

_BITS = 63
# Opacus's, and larger ones, which are the best where little is spent.
_ORDERS = [*RDPAccountant.DEFAULT_ALPHAS, 80, 96, 128, 192, 256, 512, 1024]


@dataclass(frozen=True)
class Private:
    """The config's `private`.

    Args:
        epsilon: to spend over all steps; the noise follows from it.
        noise_multiplier: instead of it, the standard deviation of the noise in units of the clip.
        delta: that goes with epsilon.
        clip: L2 norm of one patient's gradient.

    Raises:
        UserError: naming the setting that cannot be.
    """

    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float = 1e-5
    clip: float = 1.0

    def __post_init__(self) -> None:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise UserError("private: give either epsilon or noise_multiplier, such as private={epsilon: 8}")
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise UserError(f"private.{name}: found {value}; give a number above 0")

    @classmethod
    def read(cls, cfg: DictConfig) -> "Private":
        """The setting, read."""
        content, known = plain(cfg), [field.name for field in fields(cls)]
        for name in content:
            if name not in known:
                raise UserError(f"private.{name}: no such setting; there are {', '.join(known)}")
        return cls(**content)


def check(cfg: DictConfig, head: Head, patients: int) -> Private:
    """Holds a run to what DP-SGD needs.

    Raises:
        UserError: in one line that says why not.
    """
    settings = Private.read(cfg.private)
    if not head.separable:
        raise UserError(
            f"private: the loss of {type(head).__name__} couples patients (each is compared with others), so clipping "
            "one patient's gradient would not bound what they change; drop private, or choose a classification task"
        )
    if not cfg.frozen:
        raise UserError("private: noise covers the head's gradients alone; set frozen=true")
    if cfg.resume:
        raise UserError("private: a run is not resumed, because its count of epsilon would begin anew; drop resume")
    if settings.delta * patients >= 1:
        raise UserError(f"private.delta: {settings.delta:g} is no protection for {patients} patients; give far less")
    return settings


def train_privately(
    cfg: DictConfig, module: FinetuneModule, train: PatientDataset, validation: PatientDataset, settings: Private
) -> tuple[dict[str, float], dict[str, Any]]:
    """Trains the head of a module, and leaves it with the weights of the lowest validation loss.

    Returns:
        Metrics, without the training loss, which would tell of the training patients; and facts for the run record.
    """
    rate = min(1.0, cfg.data.batch_size / len(train))
    noise = noise_for(settings, rate, cfg.steps)
    # Neither noise nor choice of patients may follow from the run's seed, which its record tells.
    secret = Generator().manual_seed(secrets.randbits(_BITS))
    device = torch.device("cuda" if cfg.trainer.get("accelerator") in ("gpu", "cuda") else "cpu")
    module.encoder.to(device)
    module.train()
    wrapped, optimizer, scheduler = made_private(module, settings, noise, rate * len(train), secret)
    collate = Collate(module.encoder, True, cfg.seed, cfg.data.modality_dropout)
    watched = _whole(module, validation, cfg.data.batch_size, device)
    best: tuple[float, dict[str, Tensor]] | None = None
    for step in range(cfg.steps):
        chosen = (torch.rand(len(train), generator=secret) < rate).nonzero().squeeze(1).tolist()
        torch.manual_seed(generator_of(cfg.seed, "step", step, 0).initial_seed())  # of dropout
        batch = collate([train[Draw(place, step)] for place in chosen]) if chosen else None
        optimizer.zero_grad()
        backward(wrapped, module.head, *features(module, batch, cfg.data.batch_size, device))
        optimizer.step()
        scheduler.step()
        if _validates(step + 1, cfg):
            loss = _loss(module.head, *watched)
            if loss is not None and (best is None or loss < best[0]):
                best = loss, {name: value.clone() for name, value in module.head.state_dict().items()}
    optimizer.zero_grad(set_to_none=True)
    wrapped.to_standard_module()
    facts = record(settings, noise, rate, cfg.steps)
    metrics = {"privacy/epsilon": facts["epsilon"], "privacy/delta": facts["delta"]}
    if best is not None:
        module.head.load_state_dict(best[1])
        metrics["validation/best_loss"] = best[0]
    return metrics, facts


def noise_for(settings: Private, rate: float, steps: int) -> float:
    """The noise multiplier: as set, or the least that spends no more than epsilon over all steps."""
    if settings.noise_multiplier is not None:
        return settings.noise_multiplier
    try:
        return float(
            get_noise_multiplier(
                target_epsilon=settings.epsilon,
                target_delta=settings.delta,
                sample_rate=rate,
                steps=steps,
                accountant="rdp",
                alphas=_ORDERS,
            )
        )
    except ValueError as error:
        raise UserError(f"private.epsilon: {settings.epsilon:g} cannot be kept ({error}); give more") from error


def made_private(
    module: FinetuneModule, settings: Private, noise: float, expected: float, secret: Generator
) -> tuple[GradSampleModule, DPOptimizer, Any]:
    """The head with gradients by patient, its optimiser with clip and noise, and the learning-rate schedule.

    Args:
        module: with a frozen encoder.
        settings: see `Private`.
        noise: multiplier.
        expected: patients a step, on average.
        secret: draws the noise.
    """
    configured = module.configure_optimizers()
    wrapped = GradSampleModule(module.head, loss_reduction="sum")
    optimizer = DPOptimizer(
        configured["optimizer"],
        noise_multiplier=noise,
        max_grad_norm=settings.clip,
        expected_batch_size=expected,
        generator=secret,
        secure_mode=True,  # noise as a sum of several draws, against attacks on its last bits
    )
    return wrapped, optimizer, configured["lr_scheduler"]["scheduler"]


def backward(wrapped: GradSampleModule, head: Head, fused: Tensor, targets: Targets) -> None:
    """Gradients of each patient's own loss, as if they were alone in the batch; an empty batch has gradients of none.

    Args:
        wrapped: the head, as `made_private` gives it.
        head: itself.
        fused: embeddings, shape (patients, width).
        targets: by label column, shape (patients,).
    """
    scores = wrapped(fused.detach().requires_grad_())  # Opacus's hooks expect an input that does
    total: Tensor = 0 * scores.sum()
    for place in range(len(scores)):
        alone = slice(place, place + 1)
        loss = head.loss(scores[alone], {name: value[alone] for name, value in targets.items()})
        total = total if loss is None else total + loss
    total.backward()


@torch.no_grad()
def features(module: FinetuneModule, batch: Batch | None, size: int, device: torch.device) -> tuple[Tensor, Targets]:
    """Embeddings and targets of a batch; Poisson's draw may exceed any size, so they are made in parts."""
    if batch is None:
        return torch.zeros(0, module.encoder.width), {}
    fused = [module.encoder(part.to(device)).fused.float().cpu() for part in batch.split(size)]
    return torch.cat(fused), batch.targets


def record(settings: Private, noise: float, rate: float, steps: int) -> dict[str, Any]:
    """Epsilon and what it rests on, for the run record."""
    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    return {
        "level": "patient",
        "epsilon": float(accountant.get_epsilon(settings.delta, alphas=_ORDERS)),
        "delta": settings.delta,
        "noise_multiplier": noise,
        "clip": settings.clip,
        "sampling": f"Poisson: each training patient in a step with probability {rate:.6g}",
        "steps": steps,
        "accountant": "Renyi differential privacy of the subsampled Gaussian mechanism (Mironov et al. 2019; Opacus)",
        "neighbours": "one training patient added or removed",
        "assumptions": [
            "The head alone is trained; pretraining is not covered, so its patients must be others or covered there.",
            "Validation patients choose the best step, calibrate the head, and are not protected.",
            "How many patients train is public.",
            "Noise and draws come from a secret of the operating system; noise is a sum of four draws (Opacus's secure "
            "mode), with PyTorch's generator, which is not a cryptographic one.",
        ],
    }


def _validates(done: int, cfg: DictConfig) -> bool:
    return bool(cfg.validate_every) and (done % cfg.validate_every == 0 or done == cfg.steps)


def _whole(module: FinetuneModule, dataset: PatientDataset, size: int, device: torch.device) -> tuple[Tensor, Targets]:
    """Embeddings and targets of all patients; a frozen encoder makes the same ones at every step."""
    collate = Collate(module.encoder, train=False, seed=0)
    starts = range(0, len(dataset), size)
    batches = [collate([dataset[at] for at in range(start, min(start + size, len(dataset)))]) for start in starts]
    parts = [features(module, batch, size, device) for batch in batches]
    targets = {name: torch.cat([part[name] for _, part in parts]) for name in parts[0][1]}
    return torch.cat([fused for fused, _ in parts]), targets


@torch.no_grad()
def _loss(head: Head, fused: Tensor, targets: Targets) -> float | None:
    head.eval()
    loss = head.loss(head(fused), targets)
    head.train()
    return None if loss is None else float(loss)
