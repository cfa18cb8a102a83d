"""`python -m serve.clinic start|ask|show`: an endpoint's answers about the studies of an archive, each study once."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from foundation.command import choose, command, plain
from foundation.errors import UserError

if TYPE_CHECKING:
    from serve.clinic.archive import Archive
    from serve.clinic.service import Settings
    from serve.clinic.worklist import Worklist

_COMMAND = "python -m serve.clinic"
_HELP = f"""usage: {_COMMAND} ACTION [overrides]

  start   looks for studies by DICOMweb, has each answered once, and stores report and heat maps beside its images
  ask     puts one study on the worklist, or one that was refused again: study=UID patient=ID
  show    how many studies stand where, and why some were refused

`{_COMMAND} ACTION --help` shows what can be set. The endpoint: python -m serve bundle=... output=FOLDER"""


@command("clinic", loads="pydicom, pandas")
def start(cfg: DictConfig) -> None:
    """Works until it is stopped by Ctrl-C or SIGTERM; what is begun is finished first."""
    import asyncio
    import signal

    from serve.async_client import AsyncClient
    from serve.clinic.contract import read_contract
    from serve.clinic.reading import check_takes_scans
    from serve.clinic.service import Service

    settings, archive_settings = _settings(cfg), _archive_settings(cfg)
    contract = read_contract(_bundle(cfg))
    check_takes_scans(contract.schema)

    async def serve(worklist: "Worklist") -> None:
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        archive = _archive(**archive_settings)
        service = Service(
            archive,
            lambda: AsyncClient.of(Path(cfg.server), seconds=cfg.seconds),
            lambda: read_contract(_bundle(cfg)),
            worklist,
            Path(cfg.output) / "incoming",
            settings,
        )
        try:
            await service.run(stop, cfg.once)
        finally:
            await service.close()
            await archive.close()

    worklist = _worklist(cfg, contract.schema.name)
    with worklist.alone():
        print(f"worklist: {_told(worklist)}; stop with Ctrl-C", flush=True)
        asyncio.run(serve(worklist))
    print(f"stopped: {_told(worklist)}")
    worklist.close()


@command("clinic")
def ask(cfg: DictConfig) -> None:
    """Puts a study on the worklist; a running service takes it up."""
    from serve.clinic.contract import read_contract

    for name in ("study", "patient"):
        if not cfg[name]:
            raise UserError(f"{name}: not given; say {name}=... (see {_COMMAND} ask --help)")
    worklist = _worklist(cfg, read_contract(_bundle(cfg)).schema.name)
    worklist.ask_again(str(cfg.study), str(cfg.patient).strip())
    print(f"worklist: {_told(worklist)}")
    worklist.close()


@command("clinic")
def show(cfg: DictConfig) -> None:
    """Counts by state; each study that was refused, or put off, with its line and identifier."""
    from serve.clinic.contract import read_contract
    from serve.clinic.worklist import ASKED, FILE, REFUSED

    if not (Path(cfg.output) / FILE).is_file():
        raise UserError(f"{cfg.output}: no {FILE}; {_COMMAND} start makes one")
    worklist = _worklist(cfg, read_contract(_bundle(cfg)).schema.name)
    print(_told(worklist))
    for state in (REFUSED, ASKED):
        for row in worklist.rows(state):
            if row.line:
                print(f"row {row.row}: {state}: {row.line} (study {row.study})")
    worklist.close()


def _bundle(cfg: DictConfig) -> Path:
    if cfg.bundle is None:
        raise UserError("bundle: not given; say bundle=... as for the endpoint, python -m serve")
    return Path(cfg.bundle)


def _worklist(cfg: DictConfig, model: str) -> "Worklist":
    from serve.clinic.worklist import FILE, Worklist

    return Worklist(Path(cfg.output) / FILE, model)


def _told(worklist: "Worklist") -> str:
    return ", ".join(f"{count} {state}" for state, count in worklist.counts().items())


def _settings(cfg: DictConfig) -> "Settings":
    """What the config says of studies and pace.

    Raises:
        UserError: naming the setting that is none.
    """
    from pydantic import ValidationError

    from foundation.modalities.radiology.preparation import ScanSource
    from serve.clinic.service import Settings

    try:
        source = ScanSource.model_validate({"files": "*", **plain(cfg.slices)})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"slices.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for name, least in (("settle_seconds", 0), ("every_seconds", 0.1), ("at_once", 1), ("failures", 1)):
        if cfg[name] < least:
            raise UserError(f"{name}: found {cfg[name]}; give {least} or more")
    find = None if cfg.find is None else {name: str(value) for name, value in plain(cfg.find).items()}
    return Settings(
        find,
        [str(name) for name in cfg.modalities],
        source,
        cfg.settle_seconds,
        cfg.every_seconds,
        cfg.at_once,
        cfg.failures,
        cfg.heat_maps,
    )


def _archive_settings(cfg: DictConfig) -> dict[str, object]:
    """Address, header and trust of the archive.

    Raises:
        UserError: if patients would go over a network in the clear, or a file cannot be read.
    """
    from urllib.parse import urlsplit

    from foundation.ports import LOOPBACK
    from serve.conversation import pinned

    archive = cfg.archive
    if archive.address is None:
        raise UserError("archive.address: not given; say where its DICOMweb is, such as https://pacs:8042/dicom-web")
    parts = urlsplit(archive.address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"archive.address: found {archive.address!r}; give https://HOST[:PORT]/PATH")
    if parts.scheme == "http" and parts.hostname not in (LOOPBACK, "localhost", "::1") and not archive.unencrypted:
        advice = "give https://, or archive.unencrypted=true where the way there is protected otherwise"
        raise UserError(f"archive.address: patients would go to another machine in the clear; {advice}")
    return {
        "address": archive.address,
        "authorization": None if archive.authorization is None else _line(Path(archive.authorization)),
        "seconds": cfg.seconds,
        "trust": None if archive.certificate is None else pinned(Path(archive.certificate)),
    }


def _line(path: Path) -> str:
    """The one line of a file, which no command line and no config shows."""
    try:
        (line,) = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        advice = "give a file of one line, such as Bearer TOKEN or Basic BASE64"
        raise UserError(f"archive.authorization: {path}: cannot be read; {advice}") from error
    return line.strip()


def _archive(**settings: object) -> "Archive":
    from serve.clinic.archive import Archive

    return Archive(**settings)  # type: ignore[arg-type]


def main() -> None:
    """Runs the action that the first argument names."""
    choose(_COMMAND, {"start": start, "ask": ask, "show": show}, _HELP)


if __name__ == "__main__":
    main()
