"""Task heads on the encoder: training, evaluation, prediction."""

import foundation as foundation
