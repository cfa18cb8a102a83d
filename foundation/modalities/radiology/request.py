"""Radiology in a request: slices as images."""

from foundation.modalities.image_request import ImagesForm

FORM = ImagesForm
