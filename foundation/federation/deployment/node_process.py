"""A SuperNode's process, which ends when its work does.

When an answer of the SuperLink cannot be mended (one failed request is enough), Flower's loop returns, but the process
lives on, connected to nothing. Ended, it can be started again.
"""

import os

from flwr.supernode.cli.flower_supernode import flower_supernode

from foundation.federation.deployment.flower_patches import (
    ask_for_objects_often,
    ask_for_orders_often,
    outlast_broken_handshakes,
    pair_answers,
)

if __name__ == "__main__":
    ask_for_orders_often()
    ask_for_objects_often()
    pair_answers()
    outlast_broken_handshakes()
    flower_supernode()
    os._exit(1)
