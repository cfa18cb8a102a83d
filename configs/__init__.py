"""Hydra groups and one primary config a command; a package, so that an installed Consilium finds them."""
