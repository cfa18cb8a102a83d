"""Cohorts: from hospital folders to batches."""
