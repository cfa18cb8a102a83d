"""Radiology: slices of a scan, a token a slice."""

from foundation.modalities.images import ImageSet


class Radiology(ImageSet):
    """Slices with three channels (grey scans repeat theirs; MRI may hold three sequences)."""

    name = "radiology"
