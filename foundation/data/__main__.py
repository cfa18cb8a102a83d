"""`python -m foundation.data prepare`: from hospital folders to a prepared cohort."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from foundation.command import command, instantiate, plain
from foundation.data.cohort import MODALITIES
from foundation.data.pack import pack
from foundation.run_record import RunRecord


@contextmanager
def _site_folders(cohort: DictConfig, output: Path) -> Iterator[Path]:
    """Own site folders at `root`, or those that the source writes: to `sites`, or for a moment beside `output`."""
    if cohort.source is None:
        yield Path(cohort.root)
    elif cohort.get("sites"):
        instantiate(cohort.source)(Path(cohort.sites))
        yield Path(cohort.sites)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{output.name}.sites.", dir=output.parent) as scratch:
            sites = Path(scratch) / "sites"
            instantiate(cohort.source)(sites)
            yield sites


@command("data")
def prepare(cfg: DictConfig) -> None:
    """Writes the cohort's site folders where it has a source, checks and packs them."""
    output = Path(cfg.output)
    with _site_folders(cfg.cohort, output) as sites:
        found = pack(sites, output)
    data = {key: found[key] for key in ("name", "digest", "synthetic")} | {"hospitals": list(found["found"])}
    with RunRecord.open(output, "python -m foundation.data prepare", plain(cfg), cfg.seed, (), data) as record:
        record.note("found", found["found"])
    table = Table(
        "hospital", "patients", *MODALITIES, title=found["name"] + (" (synthetic)" if found["synthetic"] else "")
    )
    for hospital, counts in found["found"].items():
        table.add_row(hospital, *(str(value) for value in counts.values()))
    Console().print(table)
    print(f"cohort: {output}")


def main() -> None:
    """Reads the action, then hands Hydra its overrides."""
    if len(sys.argv) < 2 or sys.argv[1] not in ("prepare", "--help"):
        found = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        print(f"error: python -m foundation.data: '{found}' given; say prepare, then overrides", file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] == "prepare":
        del sys.argv[1]
    prepare()


if __name__ == "__main__":
    main()
