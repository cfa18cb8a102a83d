"""Radiology volumes in a prepared cohort: uint8 `[scans, right, front, up, channels]` on the cohort's grid."""

from foundation.data.storage import ImageStorage

STORAGE = ImageStorage("radiology_volumes", order=25)
