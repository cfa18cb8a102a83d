"""ServerComponents that stay at a site: which names of a module they are."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from foundation.errors import UserError
from foundation.federation.groups import group_of

BATCH_NORM = "batch_norm"
BUFFERS = "buffers"
_GROUP = "group:"


def local_names(module: nn.Module, patterns: Iterable[str]) -> tuple[str, ...]:
    """The names in a module's state that patterns keep at a site.

    Args:
        module: the pretraining module.
        patterns: names with wildcards (`fnmatch`), for example `objectives.*.log_scale`; `batch_norm` for weights and
            running statistics of every batch-norm layer (FedBN, Li et al. 2021); `buffers` for all that no gradient
            trains, running statistics and counters of any kind (SiloBN, Andreux et al. 2020); `group:<name>` for a
            parameter group.

    Raises:
        UserError: if a pattern matches nothing, because what it was meant to keep would travel.
    """
    names = list(module.state_dict())
    found: set[str] = set()
    for pattern in patterns:
        kept = {name for name in names if _matches(name, pattern)}
        if pattern == BATCH_NORM:
            kept = _batch_norm(module)
        elif pattern == BUFFERS:
            kept = {name for name, _ in module.named_buffers()} & set(names)
        if not kept and pattern != BUFFERS:
            raise UserError(
                f"strategy.local: '{pattern}' matches no parameter of the model; name one of its parameters, "
                f"'{BATCH_NORM}' if it has such layers, or a group: {', '.join(sorted(set(map(group_of, names))))}"
            )
        found |= kept
    return tuple(sorted(found))


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith(_GROUP):
        return group_of(name) == pattern.removeprefix(_GROUP)
    return fnmatchcase(name, pattern)


def _batch_norm(module: nn.Module) -> set[str]:
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    return {f"{name}.{part}" for name, layer in layers.items() for part in layer.state_dict()}
