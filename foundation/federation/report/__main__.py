"""`python -m foundation.federation.report run=FOLDER`: the page of a federated run, from what it wrote down."""

from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.errors import UserError


@command("report_federation")
def main(cfg: DictConfig) -> None:
    """Writes report.html into the run's folder."""
    from foundation.federation.report.page import write_report

    settings = plain(cfg)
    if not settings["run"]:
        raise UserError("run: none given; say run=FOLDER, the output folder of a federated run")
    others, ledgers = (_paths(settings[name]) for name in ("others", "ledgers"))
    print(f"report: {write_report(Path(str(settings['run'])), others, ledgers or None)}")


def _paths(value: str | list[str] | None) -> list[Path]:
    return [Path(value)] if isinstance(value, str) else [Path(path) for path in value or []]


if __name__ == "__main__":
    main()
