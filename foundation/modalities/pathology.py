"""Pathology: H&E tiles, a token a tile."""

from foundation.modalities.images import ImageSet


class Pathology(ImageSet):
    """Tiles of a patient's slides or regions, RGB."""

    name = "pathology"
