"""Flower's SuperNode, in a process that ends when its work does.

When an answer of the SuperLink cannot be mended (one failed request is enough), Flower's loop returns, but the process
lives on, connected to nothing. Ended, it can be started again.
"""

import os

from flwr.supernode.cli.flower_supernode import flower_supernode

if __name__ == "__main__":
    flower_supernode()
    os._exit(1)
