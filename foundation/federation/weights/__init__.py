"""Weights as numpy arrays: files, arithmetic, what is shared and what stays local."""
