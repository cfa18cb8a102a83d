"""`python -m finetune.biomarkers evidence=...`: what a model goes by, and what of it holds, on one page."""

from omegaconf import DictConfig

from finetune.trial.__main__ import run_tool
from foundation.command import command


@command("biomarkers", loads="torch, captum, pandas, matplotlib")
def main(cfg: DictConfig) -> None:
    """Writes index.html, results.json and whole tables as CSV."""
    run_tool(cfg, cfg.evidence, "python -m finetune.biomarkers")


if __name__ == "__main__":
    main()
