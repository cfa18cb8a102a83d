"""SCAFFOLD: control variates that take a site's own drift out of its steps."""

import json
from collections.abc import Iterable

import numpy as np

from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.strategies.base import Coverage, Updates
from foundation.federation.weights.aggregation import Floats
from foundation.federation.weights.types import Arrays, Weights

_CONTROL, _MEMBERS = "control/", "members"


class Scaffold(FedAvg):
    """SCAFFOLD with option II (Karimireddy et al. 2020), by modality.

    A site steps along `g - c_i + c`, and then sets `c_i+ = c_i - c + (x - y_i) / (steps * learning rate)`; it sends
    `c_i+ - c_i` for the groups that it trained and keeps `c_i`. The server's `c` of a group is the mean of `c_i` over
    all sites that have ever trained that group, those absent from this round included: they are the federation of the
    group. A site that joins later enters with `c_i = 0`; one that loses its `c_i` leaves what it lost in `c`, so sites
    must keep theirs. The weights themselves are averaged by samples, as everywhere here.

    Args:
        learning_rate: the server's, on the mean change of the weights.
        local: see `Strategy`.
    """

    def __init__(self, learning_rate: float = 1.0, local: Iterable[str] = ()) -> None:
        super().__init__(local)
        self.learning_rate = learning_rate
        self.controls: Weights = {}
        self.members: dict[str, list[str]] = {}
        self._grown = 1.0
        self._trained: Updates = {}
        self._size = 1

    def site_settings(self) -> dict[str, float | str]:
        return {"scaffold": 1.0}

    def server_control(self) -> Weights:
        return dict(self.controls)

    def select(self, group: str, names: list[str], previous: Arrays, trained: Updates) -> Coverage:
        known = self.members.get(group, [])
        self.members[group] = sorted({*known, *trained})
        self._trained = trained
        self._size = len(self.members[group])
        self._grown = len(known) / self._size
        return super().select(group, names, previous, trained)

    def step(self, name: str, change: Floats) -> Floats:
        control = self.controls.get(name, np.zeros(change.shape)).astype(np.float64) * self._grown
        for update in self._trained.values():
            if name in update.control:  # a site that sends none keeps its own as it was
                control += update.control[name] / self._size
        self.controls[name] = np.asarray(control, dtype=np.float32)
        return self.learning_rate * change

    def state(self) -> Weights:
        members = np.frombuffer(json.dumps(self.members).encode(), dtype=np.uint8)
        return {_MEMBERS: members} | {f"{_CONTROL}{name}": value for name, value in self.controls.items()}

    def load_state(self, state: Weights) -> None:
        if _MEMBERS not in state:
            raise ValueError(f"state: holds no {_MEMBERS}, so it is another strategy's than Scaffold")
        self.members = json.loads(np.asarray(state[_MEMBERS], dtype=np.uint8).tobytes())
        controls = {key: value for key, value in state.items() if key != _MEMBERS}
        self.controls = {key.removeprefix(_CONTROL): np.asarray(value, np.float32) for key, value in controls.items()}
