"""Negative controls: what a claim of gain is shown beside."""
