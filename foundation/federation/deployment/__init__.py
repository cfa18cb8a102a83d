"""A federation of machines: keys, the SuperLink, a node a hospital."""
