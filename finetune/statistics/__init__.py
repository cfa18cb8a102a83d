"""What is counted of a kind of task, and the figures that come of the counts: one file a kind, the same everywhere."""
