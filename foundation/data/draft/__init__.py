"""A draft of a declaration, from a look at a folder."""
