"""The folder of an evaluation, as the trial tools' tests make it."""

from tests.finetune.trial.conftest import evaluated as evaluated
from tests.finetune.trial.conftest import scored as scored
