"""The model card: one graph of evidence, of which every document prints nodes and nothing else."""
