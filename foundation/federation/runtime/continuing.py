"""A run that goes on from the weights of an earlier one: of the same model, or of one with a modality less."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from torch import nn

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.weights.lazy import LazySafetensors
from foundation.federation.weights.module import set_weights, to_weights, travelling
from foundation.files import read_json

_ADVICE = "give the output folder of a finished federated run"


def earlier_of(continues: str | None) -> list[Path]:
    """The run that this one builds on, if it goes on from any."""
    return [] if continues is None else [Path(continues)]


def place_earlier(
    module: nn.Module, continues: str | None, local: Collection[str], grafted: Collection[str] = ()
) -> None:
    """Puts the last weights of an earlier run into a module.

    Args:
        module: to train.
        continues: output folder of the earlier run; nothing is done if None.
        local: names of what stays at sites, of which the server has none.
        grafted: parameter groups that the earlier run had not: they begin as the seed made them.

    Raises:
        UserError: if the earlier run did not finish, or its model is another one.
    """
    if continues is None:
        return
    folder = Path(continues)
    rounds = read_json(folder / "history.json", _ADVICE, "rounds")["rounds"]
    weights = LazySafetensors(folder / "rounds" / f"round_{len(rounds):04d}.safetensors")
    state, travels = to_weights(module.state_dict()), travelling(module, tuple(local))
    for name in sorted(travels):
        if name in weights and tuple(np.shape(weights[name])) != tuple(state[name].shape):
            raise UserError(f"continues: {name} has another shape in {folder}; go on with the same encoder")
        if name not in weights and group_of(name) not in grafted:
            raise UserError(f"continues: {folder} has no {name}; a modality that comes later is named by graft=[...]")
    if strange := sorted(set(weights) - set(state)):
        raise UserError(f"continues: {folder} has {strange[0]}, which this model has not; go on with all it had")
    set_weights(module, {name: np.array(weights[name]) if name in weights else value for name, value in state.items()})
