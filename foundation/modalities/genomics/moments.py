"""How many batches running moments of expression stand for, as a server without torch sets it."""

FINAL = 1e6  # of moments that were set once for all, from pooled statistics: no batch moves them
