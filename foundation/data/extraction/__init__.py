"""Extraction of features: slides, regions and scans through an image encoder, once."""
