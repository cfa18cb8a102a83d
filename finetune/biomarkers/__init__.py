"""Biomarkers: what of a patient a model goes by, how faithfully that is told, and what of it holds on others."""
