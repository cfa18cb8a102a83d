"""The tuning of a pretrained backbone: all of it, none of it, or low-rank adapters beside it."""

from typing import Any

from torch import nn

from foundation.errors import UserError

_WAYS = ("full", "frozen", "lora")


def set_tuning(backbone: nn.Module, tune: str, rank: int, setting: str) -> None:
    """Freezes a backbone's weights, or also puts adapters into its linear and convolution layers, in place.

    Args:
        backbone: to change.
        tune: `full` leaves it as it is; `lora` is low-rank adaptation (Hu et al. 2022).
        rank: of the adapters.
        setting: its name in the config, for errors.

    Raises:
        UserError: if there is no such way, or no layer to adapt.
    """
    if tune not in _WAYS:
        raise UserError(f"{setting}.tune: found {tune!r}; choose from {', '.join(_WAYS)}")
    if tune == "full":
        return
    backbone.requires_grad_(False)
    if tune == "lora":
        targets = [name for name, layer in backbone.named_modules() if _adaptable(layer)]
        if not targets:
            raise UserError(f"{setting}.tune: lora, but the backbone has no linear or convolution layer; use full")
        # Here, for it brings accelerate and whatever tracker is installed: a second of every start that adapts nothing.
        from peft import LoraConfig, inject_adapter_in_model

        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), backbone)


def _adaptable(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def keep_no_activations(backbone: Any, setting: str) -> None:
    """Lets a timm or transformers backbone compute its activations again in the backward pass instead of keeping them.

    Raises:
        UserError: if the backbone cannot.
    """
    names = ("set_grad_checkpointing", "gradient_checkpointing_enable")
    switch = next((getattr(backbone, name) for name in names if hasattr(backbone, name)), None)
    if switch is None:
        raise UserError(f"{setting}.checkpoint_activations: this backbone cannot; set it to false")
    try:
        switch()
    except (AssertionError, ValueError) as error:
        raise UserError(f"{setting}.checkpoint_activations: this backbone cannot ({error}); set it to false") from error


def repeated_blocks(backbone: nn.Module) -> list[nn.Module]:
    """The blocks that a backbone stacks, of one class and shape a stack; none if they are not most of its layers."""
    blocks: list[nn.Module] = []
    pending = list(backbone.children())
    while pending:
        module = pending.pop(0)
        parts = list(module.children()) if isinstance(module, nn.ModuleList | nn.Sequential) else []
        shapes = [[tuple(parameter.shape) for parameter in part.parameters()] for part in parts]
        alike = len({type(part) for part in parts}) == 1 and all(shape == shapes[0] for shape in shapes)
        if len(parts) > 1 and alike and shapes[0]:
            blocks += parts
        else:
            pending += module.children()
    tables = [module for module in backbone.modules() if isinstance(module, nn.Embedding)]  # looked up, not computed
    inside, looked_up, whole = (
        sum(parameter.numel() for module in modules for parameter in module.parameters())
        for modules in (blocks, tables, [backbone])
    )
    return blocks if 2 * inside > whole - looked_up else []
