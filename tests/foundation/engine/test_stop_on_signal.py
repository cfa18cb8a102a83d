"""What a run does on SIGTERM, and what it keeps Lightning from doing."""

import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.demos.boring_classes import BoringModel

from foundation.engine.callbacks import StopOnSignal
from foundation.errors import UserError


class Terminate(Callback):
    """Sends this process a SIGTERM in a step, as a cluster does."""

    def on_train_batch_start(self, *args: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_lightnings_handler_which_exchanges_between_processes_is_not_called(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=3,
        callbacks=[Terminate(), StopOnSignal(None)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with pytest.raises(UserError, match="stopped by SIGTERM after step 1"):
        trainer.fit(BoringModel())
    assert not trainer.received_sigterm
    assert signal.getsignal(signal.SIGTERM) == before
