"""`python -m foundation.data.portals`: assembles a public TCGA project as a site folder."""

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from foundation.command import command, plain
from foundation.run_record import RunRecord

_OWN = ("output", "dry_run", "refresh", "portals", "transfer")


@command("assemble")
def main(cfg: DictConfig) -> None:
    """Plans, shows the plan, and receives and writes it unless that was all that was asked for."""
    from foundation.data.portals.assembly import assemble
    from foundation.data.portals.attempts import Attempts
    from foundation.data.portals.cbioportal import CBioPortal
    from foundation.data.portals.connection import Connection
    from foundation.data.portals.gdc import Gdc
    from foundation.data.portals.manifest import Manifest
    from foundation.data.portals.plan import Portals, make_plan
    from foundation.data.portals.selection import select
    from foundation.data.portals.tcia import Tcia
    from foundation.data.portals.transfer import Transfer

    settings: dict[str, Any] = plain(cfg)
    wanted = select({key: value for key, value in settings.items() if key not in _OWN})
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    output = TemporaryDirectory() if cfg.dry_run else nullcontext(cfg.output)  # a plan alone leaves nothing behind
    with output as folder, Manifest.open(Path(folder), wanted.project) as manifest:
        attempts = Attempts(cfg.transfer.attempts, cfg.transfer.pause, cfg.transfer.patience)
        connection = Connection(attempts, cfg.transfer.timeout)
        transfer = Transfer(manifest, connection, cfg.transfer.threads, cfg.refresh)
        portals = Portals(
            Gdc(transfer, cfg.portals.gdc, wanted.project),
            CBioPortal(transfer, cfg.portals.cbioportal, wanted.study_or_default),
            Tcia(transfer, cfg.portals.tcia, wanted.collection or wanted.project),
        )
        if cfg.dry_run:
            console.print(make_plan(portals, wanted).table(wanted.project))
            return
        data = {"name": wanted.project.lower().replace("-", "_"), "synthetic": False}
        with RunRecord.open(Path(folder), "python -m foundation.data.portals", settings, cfg.seed, (), data) as record:
            plan = make_plan(portals, wanted)
            console.print(plan.table(wanted.project))
            with bars:
                assembled = assemble(plan, wanted, portals, transfer, bars)
            record.content["data"] |= {"digest": assembled.digest, "hospitals": list(assembled.hospitals)}
            record.note("patients", assembled.patients)
            record.note("patients_without_mutation", assembled.unmutated)
            record.note("bytes_received", connection.received)
    print(f"received: {connection.received / 1e9:.3f} GB")
    print(f"cohort: {cfg.output}")


if __name__ == "__main__":
    main()
