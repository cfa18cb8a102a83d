"""Heads across hospitals: labels and predictions stay where they are, weights and sums travel."""
