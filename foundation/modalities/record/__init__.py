"""Record: typed columns of structured clinical data."""
