"""`python -m finetune.stratification strata=...`: groups of patients, and how they fare, on one page."""

from omegaconf import DictConfig

from finetune.trial.__main__ import run_tool
from foundation.command import command


@command("stratification", loads="torch, pandas, matplotlib")
def main(cfg: DictConfig) -> None:
    """Writes index.html and results.json."""
    run_tool(cfg, cfg.strata, "python -m finetune.stratification")


if __name__ == "__main__":
    main()
