"""The page beside the endpoint: a form of what the model reads, and its answer, in a browser."""
