"""Peak memory and step time by trainer: DDP, ZeRO by stage, and FSDP, for the same model, patients and precision."""

from gpu_sections.device import free, peak_memory
from gpu_sections.jobs import Row
from gpu_sections.settings import LEAN, TRAINERS, Plan, call, speed


def footprint(plan: Plan, name: str, ranks: int) -> list[Row]:
    """What one trainer holds at most on a device, over a few steps of `python -m pretrain`."""
    size, output = plan.sizes[0], plan.folder / f"memory-{TRAINERS[name]}"
    trainer = [f"trainer={TRAINERS[name]}", f"trainer.devices={ranks}"]
    trainer += ["++trainer.precision=bf16-mixed"] if name == "DDP" else []
    trainer += ["trainer.accelerator=cpu"] if plan.toy else []
    patients = 2 if plan.toy else plan.patients(size) // 2
    steps = ["steps=5", "speed_every=1", f"data.batch_size={patients}", f"output={output}"]
    free()
    call("pretrain", *plan.overrides(size), *LEAN, *trainer, *steps)
    seen = speed(output)
    return [
        {
            "name": name,
            "size": size,
            "devices": ranks,
            "patients": patients,
            "peak_bytes": peak_memory(),
            "step_seconds": seen["speed/step_seconds"],
        }
    ]
