"""How far an answer can be relied on: conformal sets and intervals, out-of-distribution scores, abstention."""
