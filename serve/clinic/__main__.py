"""`python -m serve.clinic start|ask|show`: an endpoint's answers about the studies of an archive, each study once."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from foundation.command import choose, command, plain
from foundation.errors import UserError

if TYPE_CHECKING:
    from serve.clinic.archive import Archive
    from serve.clinic.settings import Settings
    from serve.clinic.worklist import Worklist

_COMMAND = "python -m serve.clinic"
_OFTENEST = 0.1  # seconds between two looks at the archive
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

    async def serve(worklist: "Worklist") -> UserError | None:
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
            return await service.run(stop, cfg.once)
        finally:
            await service.close()
            await archive.close()

    worklist = _worklist(cfg, contract.schema.name)
    with worklist.alone():
        print(f"worklist: {_told(worklist)}; stop with Ctrl-C", flush=True)
        missed = asyncio.run(serve(worklist))
    print(f"stopped: {_told(worklist)}")
    worklist.close()
    if missed is not None:  # a timer that starts it with once=true has to learn that nothing was answered
        raise missed


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
    from serve.clinic.settings import Settings
    from serve.limits import check_above_zero, check_at_least_zero, check_counts

    try:
        source = ScanSource.model_validate({"files": "*", **plain(cfg.slices)})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"slices.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    check_at_least_zero(settle_seconds=cfg.settle_seconds)
    check_above_zero(every_seconds=cfg.every_seconds, seconds=cfg.seconds)
    check_counts(at_once=cfg.at_once, failures=cfg.failures)
    if cfg.every_seconds < _OFTENEST:
        raise UserError(f"every_seconds: found {cfg.every_seconds}; give {_OFTENEST} or more")
    _check_switches(heat_maps=cfg.heat_maps, once=cfg.once)
    modalities = plain(cfg)["modalities"]
    if not isinstance(modalities, list) or not modalities:
        raise UserError(f"modalities: found {modalities}; give a list, such as [CT,MR]")
    return Settings(
        _filters(plain(cfg)["find"]),
        [str(name) for name in modalities],
        source,
        cfg.settle_seconds,
        cfg.every_seconds,
        cfg.at_once,
        cfg.failures,
        cfg.heat_maps,
    )


def _check_switches(**values: object) -> None:
    """Refuses what is neither true nor false: the word `no` would count as yes."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise UserError(f"{name}: found {value}; give true or false")


def _filters(find: object) -> dict[str, str] | None:
    """Of the archive's search, which would find nothing by what is no text."""
    if find is None:
        return None
    if not isinstance(find, dict):
        raise UserError(f"find: found {find}; give filters, such as find.StudyDate=20260101-, or null")
    for name, value in find.items():
        if isinstance(value, bool | dict | list):
            raise UserError(f"find.{name}: found {value}; give one text, or null for any")
    return {str(name): str(value) for name, value in find.items() if value is not None}


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
    try:
        parts = urlsplit(str(archive.address))
    except ValueError as error:
        raise UserError("archive.address: no address; give https://HOST[:PORT]/PATH") from error
    if "@" in parts.netloc or parts.query or parts.fragment:  # lines name the address, which no log may then hold
        advice = "give https://HOST[:PORT]/PATH, and what proves who asks by archive.authorization"
        raise UserError(f"archive.address: holds a name, a password or a query; {advice}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"archive.address: found {archive.address!r}; give https://HOST[:PORT]/PATH")
    _check_switches(**{"archive.unencrypted": archive.unencrypted})
    if parts.scheme == "http" and parts.hostname not in (LOOPBACK, "localhost", "::1") and not archive.unencrypted:
        advice = "give https://, or archive.unencrypted=true where the way there is protected otherwise"
        raise UserError(f"archive.address: patients would go to another machine in the clear; {advice}")
    return {
        "address": str(archive.address),
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
