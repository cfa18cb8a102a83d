"""Pretraining: the Lightning module, its command, and the same run across hospitals."""

import foundation as foundation
