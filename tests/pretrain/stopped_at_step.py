"""`python -m pretrain` that is told to stop in its eighth step."""

import os
import signal
from typing import Any

from pretrain import __main__, module

_step = module.PretrainModule.training_step


def _training_step(self: module.PretrainModule, batch: Any, index: int) -> Any:
    if self.global_step == 7:
        os.kill(os.getpid(), signal.SIGTERM)
    return _step(self, batch, index)


module.PretrainModule.training_step = _training_step  # type: ignore[method-assign]
__main__.main()
