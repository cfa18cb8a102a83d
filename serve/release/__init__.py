"""Releases that are earned: a registry, what a challenger must hold before it answers anybody, and the way back."""
