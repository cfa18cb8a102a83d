"""The page of a federated run: who took part, what was learned, what it cost, and what protects the patients."""
