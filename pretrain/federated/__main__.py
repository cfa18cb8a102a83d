"""`python -m pretrain.federated`: pretraining across hospitals whose data stay where they are."""

import os

from omegaconf import DictConfig

# Read by Flower when it is first imported, so it is said before.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from foundation.command import command


@command("federated", loads="torch, flwr")
def main(cfg: DictConfig) -> None:
    """Runs the rounds and writes the encoder's portable folder; told to stop, it leaves nothing running."""
    from foundation.federation.runtime.command import federate

    federate(cfg, "python -m pretrain.federated")


if __name__ == "__main__":
    main()
