"""Hospitals that train, evaluate and count together, whatever the task; only weights and counts travel."""
