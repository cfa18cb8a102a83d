"""Trainers that a benchmark looks into while the product's own training run builds and uses them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Trainer

import foundation.engine.run


@contextmanager
def changed_trainers(change: Callable[[Trainer], None]) -> Iterator[None]:
    """Lets a benchmark change each trainer that a training run builds inside, in ways that no setting of a run has."""
    build = foundation.engine.run.build_trainer

    def changed(*args: Any, **more: Any) -> Trainer:
        trainer = build(*args, **more)
        change(trainer)
        return trainer

    foundation.engine.run.build_trainer = changed
    try:
        yield
    finally:
        foundation.engine.run.build_trainer = build
