"""`python -m finetune.federated`: a task head across hospitals whose data stay where they are."""

import os

from omegaconf import DictConfig

# Read by Flower when it is first imported, so it is said before.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from foundation.command import command


@command("finetune_federated", loads="torch, flwr")
def main(cfg: DictConfig) -> None:
    """Runs the rounds and writes the task model, which `finetune.evaluate` and `serve.export` read as any other."""
    from finetune.federated.assemble import settle
    from foundation.federation.runtime.command import federate

    settle(cfg)
    federate(cfg, "python -m finetune.federated")


if __name__ == "__main__":
    main()
