"""`python -m foundation.federation.plans`: a hospital's owner reads what a federation asks, and decides."""

from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command


@command("plans")
def main(cfg: DictConfig) -> None:
    """Shows the plans that wait here, and writes the owner's decision into this hospital's ledger."""
    from foundation.federation.site.config import Site
    from foundation.federation.site.owner import act

    act(Site.load(Path(cfg.site)), str(cfg.action), None if cfg.plan is None else str(cfg.plan))


if __name__ == "__main__":
    main()
