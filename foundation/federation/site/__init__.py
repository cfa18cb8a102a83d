"""A hospital's side of a run: admission, training, and what leaves."""
