"""Model FLOPs utilisation by the encoder's size: the whole path, beside bare PyTorch loops over the same model.

MFU (Chowdhery et al. 2022) counts the operations of one forward and one backward pass, however they are computed.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import foundation  # noqa: F401  # isort: skip
import hydra
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from foundation.batch import Batch
from foundation.data.dataset import Collate, PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.engine.throughput import flop_counter
from gpu_sections.device import device, free, matmul_flops, peak_flops, seconds_of
from gpu_sections.jobs import Row
from gpu_sections.settings import LEAN, Plan, call, speed
from pretrain.assemble import build_encoder, build_objectives, load_cohort


class Model(nn.Module):
    """Encoder and objectives, and nothing of the path around them."""

    def __init__(self, encoder: MultimodalEncoder, objectives: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.objectives = nn.ModuleDict(objectives)

    def forward(self, batch: Batch) -> torch.Tensor:
        output = self.encoder(batch)
        terms = [objective(self.encoder, output, batch) for objective in self.objectives.values()]
        return torch.stack([term.loss for term in terms if term is not None]).sum()


def utilisation(plan: Plan, size: str) -> list[Row]:
    """Rows of one size: bare loops, then `python -m pretrain` over the same patients, packed on disk."""
    patients = plan.patients(size)
    model, batch = prepared(plan, size, patients)
    flops = count_flops(model, batch)
    side = 256 if plan.toy else 8192
    facts = {
        "size": size,
        "patients": patients,
        "flops_per_patient": flops / patients,
        "matmul_flops": matmul_flops(side),
    }
    rounds = 2 if plan.toy else 12
    rows = [_bare("bare loop, eager", model, batch, rounds)]
    if size == plan.sizes[0]:
        with sdpa_kernel(SDPBackend.MATH):
            rows.append(_bare("bare loop, eager, no flash attention", model, batch, rounds))
    model.encoder.compile_backbones(**({"backend": "eager"} if plan.toy else {}))
    rows.append(_bare("bare loop, compiled", model, batch, rounds))
    del model, batch
    free()
    rows.append(_path(plan, size, patients))
    return [{**row, **facts, **_shares(row, facts)} for row in rows]


def prepared(plan: Plan, size: str, patients: int) -> tuple[Model, Batch]:
    """A model as `python -m pretrain` builds it, and a training batch, both on the device."""
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", plan.overrides(size))
    torch.manual_seed(0)
    cohort, parts = load_cohort(cfg)
    model = Model(build_encoder(cfg, cohort.dictionary), build_objectives(cfg))
    dataset = PatientDataset(cohort, [*parts.train, *parts.validation], list(model.encoder.modalities))
    rows = [dataset[index % len(dataset)] for index in range(patients)]
    batch = Collate(model.encoder, train=True, seed=0)(rows)
    return model.to(device()).train(), batch.to(device())


def count_flops(model: Model, batch: Batch) -> int:
    """Operations of one forward and backward pass, by the counter that a run's `speed/...` lines go by."""
    with flop_counter() as counter:
        with _precision():
            loss = model(batch)
        loss.backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def stepper(model: Model, batch: Batch) -> Callable[[], None]:
    """A training step in bf16, as short as PyTorch lets one write it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _precision():
            loss = model(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def _precision() -> AbstractContextManager[Any]:
    return torch.autocast(device().type, dtype=torch.bfloat16)


def _bare(name: str, model: Model, batch: Batch, rounds: int) -> Row:
    seconds = seconds_of(stepper(model, batch), rounds)
    return {"name": name, "step_seconds": seconds, "patients_per_second": len(batch) / seconds}


def _path(plan: Plan, size: str, patients: int) -> Row:
    """`python -m pretrain` in bf16 and compiled, by its own `speed/...` lines."""
    output = plan.folder / f"path-{size}"
    steps, every = (6, 1) if plan.toy else (40, 8)
    trainer = ["trainer=gpu", *(["trainer.accelerator=cpu"] if plan.toy else [])]
    loader = [f"data.num_workers={0 if plan.toy else plan.workers}", "data.prefetch_factor=4"]
    loader += [f"data.batch_size={patients}", f"data.pin_memory={not plan.toy}"]
    run = [*trainer, *loader, f"steps={steps}", f"speed_every={every}", f"compile={plan.compile}", f"output={output}"]
    call("pretrain", *plan.overrides(size), *LEAN, *run)
    return {"name": "python -m pretrain, compiled", **_speed(output)}


def _speed(output: Path) -> Row:
    seen = speed(output)
    return {
        "step_seconds": seen["speed/step_seconds"],
        "patients_per_second": seen["speed/samples_per_second"],
        "counted_by_the_run": seen["speed/model_flops_per_second"] / seen["speed/samples_per_second"],
    }


def _shares(row: Row, facts: Row) -> Row:
    """What the row reaches of the device's peak, and of a plain matrix product on it."""
    reached = facts["flops_per_patient"] * row["patients_per_second"]
    peak = peak_flops()
    shares: Row = {"flops_per_second": reached, "of_matmul": reached / facts["matmul_flops"]}
    return shares | ({"mfu": reached / peak} if peak else {"mfu_left_out": "no peak is known for this device"})
