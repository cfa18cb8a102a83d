"""Pathology: tiles of H&E slides, as pixels or as features of another model."""
