"""`python -m finetune.trial tool=...`: what a model's score does for a trial, on one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from foundation.command import command, instantiate, plain
from foundation.run_output import claim
from foundation.run_record import RunRecord

if TYPE_CHECKING:
    from finetune.trial.base import Tool


@command("trial", loads="torch, pandas, matplotlib")
def main(cfg: DictConfig) -> None:
    """Writes index.html and results.json."""
    run_tool(cfg, cfg.tool, "python -m finetune.trial")


def run_tool(cfg: DictConfig, chosen: DictConfig, command_name: str) -> None:
    """Reads the patients of a run, lets a tool work on them, and writes its page and record.

    Args:
        cfg: of the command.
        chosen: the tool's part of it.
        command_name: as the record names it.
    """
    from finetune.page import PAGE, RESULTS
    from finetune.trial.patients import read_scored
    from finetune.trial.settings import names

    run, output = Path(cfg.run), Path(cfg.output)
    claim(output, command_name, plain(cfg))
    table = None if cfg.table is None else Path(cfg.table)
    splits = names("split", plain(cfg)["split"], ["test"])
    scored = read_scored(run, splits, cfg.subset, cfg.prediction, table)
    settings = {key: value for key, value in plain(chosen).items() if key != "name"}
    tool: Tool = instantiate(settings, _convert_="all")
    with RunRecord.open(output, command_name, plain(cfg), cfg.seed, [run], scored.cohort.facts()) as record:
        page = tool.run(scored, cfg.seed)
        page.write(output, {"source": scored.source, "split": scored.split, "seed": cfg.seed})
        if page.first:
            record.note("seen", page.first)
        record.metrics.update(page.metrics())
    for line in filter(None, (page.first, *page.lead)):
        print(line)
    print(f"page: {output / PAGE}\nevery figure: {output / RESULTS}")


if __name__ == "__main__":
    main()
