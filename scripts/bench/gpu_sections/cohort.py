"""The cohort that is trained on: the embedded one, with everything known of everybody, and tiles of 256 pixels."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.data import synthetic
from foundation.data.__main__ import prepare
from gpu_sections.jobs import Row
from gpu_sections.settings import Plan

Drawer = Callable[..., NDArray[np.uint8]]


def prepared(plan: Plan) -> list[Row]:
    """Writes and prepares it with the project's own command."""
    patients, times = (6, 1) if plan.toy else (64, 4)
    synthetic.SITES = tuple(dataclasses.replace(site, patients=patients, lacks=()) for site in synthetic.SITES)
    names = ["pathology", "radiology", "genomics", "report", "record"]
    synthetic._presence = lambda site, rng: {name: np.ones(site.patients, dtype=bool) for name in names}
    synthetic.draw_tile = _larger(synthetic.draw_tile, times)
    synthetic.draw_slice = _larger(synthetic.draw_slice, times)
    _prepare(plan)
    return [{"name": "cohort", "patients": 4 * patients}]


def _larger(draw: Drawer, times: int) -> Drawer:
    def drawn(*arguments: Any) -> NDArray[np.uint8]:
        return draw(*arguments).repeat(times, axis=0).repeat(times, axis=1)

    return drawn


def _prepare(plan: Plan) -> None:
    sys.argv = ["prepare", "cohort=demo", f"cohort.root={plan.folder / 'raw'}", f"output={plan.cohort}"]
    prepare()
