"""The server's side of a run: rounds, updates, checkpoints, ledger."""
