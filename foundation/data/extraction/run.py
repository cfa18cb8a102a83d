"""One extraction: which files, each content once, what is done already, and the tables that list what came out."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.progress import Progress

from foundation.data.extraction.contract import Extractor, Load, Reading
from foundation.data.extraction.feature_file import is_written
from foundation.data.extraction.work import PictureFile, Worker, attributes_of, default_workers, extract
from foundation.data.image_looks import digest
from foundation.data.packages import modules
from foundation.data.problems import Problem, Problems, refuse
from foundation.data.processes import run_each
from foundation.data.site import Site
from foundation.data.table_files import KEY as PATIENT
from foundation.errors import UserError
from foundation.files import replacing
from foundation.run_output import folder_digest

FEATURES, EXTRACTOR, DIGESTS = "features", "extractor", "digests.jsonl"
_FORMAT = 1  # counted up when the same files and settings would give other features
_TOGETHER = 64  # files of one picture each in one job


@dataclass(frozen=True)
class Plan:
    """How an extraction runs.

    Attributes:
        output: its folder.
        modality: whose files.
        workers: processes; see `default_workers` if None, this one alone if 0.
        batch: pictures at once.
        gpus: to use; all that there are if None.

    Raises:
        UserError: if a count is none.
    """

    output: Path
    modality: str
    workers: int | None = None
    batch: int = 32
    gpus: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("workers", self.workers or 0, 0), ("batch", self.batch, 1)):
            if not isinstance(value, int) or value < least:
                raise UserError(f"{name}: found {value!r}; give a count from {least}")
        there = torch.cuda.device_count()
        if self.gpus is not None and not (isinstance(self.gpus, int) and 0 <= self.gpus <= there):
            raise UserError(f"gpus: found {self.gpus!r}; give a count from 0 to {there}, as many as there are")


@dataclass(frozen=True)
class _Entry:
    hospital: str
    patient: str
    file: PictureFile
    key: str


def extract_features(sites: Sequence[Site], extractor: Extractor, load: Load, plan: Plan) -> dict[str, Any]:
    """Writes the encoder's folder, a file of features for each content, and a table a hospital.

    Args:
        sites: hospitals, read.
        extractor: of the features.
        load: reads its folder in other processes.
        plan: how.

    Returns:
        Counts, and the encoder's name, digest and dimension, for the run record.

    Raises:
        UserError: if no hospital has files of the modality, or one of them cannot be read; all others are done then.
    """
    having = [site for site in sites if plan.modality in site.tables]
    if not having:
        raise UserError(f"modality: no hospital has files of {plan.modality}; declare them, or choose another")
    extractor.save(plan.output / EXTRACTOR)
    encoder = folder_digest(plan.output / EXTRACTOR)
    reading = _reading(plan.modality)
    problems = Problems()
    with Progress(transient=True) as bars:
        entries = list(_entries(having, extractor, encoder, reading, plan, problems, bars))
        wanted = {entry.key: entry.file for entry in reversed(entries)}
        missing = [file for key, file in wanted.items() if not is_written(file.target, key)]
        _extract_all(missing, load, plan, reading, problems, bars)
    _refuse(problems, len(wanted))
    for site in having:
        _write_table(plan, site.name, [entry for entry in entries if entry.hospital == site.name], wanted)
    facts = {"encoder": extractor.name, "encoder_digest": encoder, "dim": extractor.dim}
    facts |= {"files": len(entries), "contents": len(wanted), "extracted": len(missing)}
    return facts | {"warnings": [str(problem) for problem in problems.warnings]}


def _reading(modality: str) -> Reading:
    known = modules("extraction")
    if modality not in known:
        raise UserError(f"modality: found {modality!r}; features are taken of {', '.join(known)}")
    reading: Reading = known[modality].READING
    return reading


def _entries(
    sites: Sequence[Site],
    extractor: Extractor,
    encoder: str,
    reading: Reading,
    plan: Plan,
    problems: Problems,
    bars: Progress,
) -> Iterator[_Entry]:
    """Every listed file, with the key of its content under these settings."""
    known = _Digests(plan.output / DIGESTS, reading)
    total = sum(len(site.tables[plan.modality]) for site in sites)
    bar = bars.add_task("Reading digests", total=total)
    for site in sites:
        settings = reading.settings(site.sources[plan.modality], extractor.mpp, extractor.tile)
        for patient, row in site.tables[plan.modality].iterrows():
            path = Path(row["path"])
            bars.advance(bar)
            if row["kind"] == FEATURES:
                problems.error(path, "features already", "declare slides, images or scans to take features of")
                continue
            content = problems.attempt(known.of, path)
            if content is None:
                continue
            key = _digest([_FORMAT, content, row["kind"], asdict(settings), encoder])
            target = plan.output / FEATURES / f"{path.stem}-{key[:12]}.h5"
            attributes = attributes_of(extractor, encoder, content, settings, key)
            file = PictureFile(path, row["kind"], plan.modality, settings, target, attributes)
            yield _Entry(site.name, str(patient), file, key)


class _Digests:
    """Digests of files' content, kept by size and time of change, for reading terabytes takes hours."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self._known: dict[str, str] = {}
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                self._known.update(json.loads(line))
            except ValueError:
                continue  # a killed run's last line: that file is read again

    def of(self, path: Path) -> str:
        """Of one entry of a listing.

        Raises:
            DataError: if a file is missing.
        """
        if not path.exists():
            raise refuse(path, "no such file", "mend its name in the table, or remove the row")
        files = self._reading.files(path)
        stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        state = _digest(stats)
        if state not in self._known:
            self._known[state] = digest(files)
            with self._path.open("a") as stream:
                stream.write(json.dumps({state: self._known[state]}) + "\n")
        return self._known[state]


def _extract_all(
    files: list[PictureFile], load: Load, plan: Plan, reading: Reading, problems: Problems, bars: Progress
) -> None:
    if not files:
        return
    single = [file for file in files if file.kind in reading.single]
    together = [single[start : start + _TOGETHER] for start in range(0, len(single), _TOGETHER)]
    units = [[file] for file in files if file.kind not in reading.single] + together
    jobs = {unit[0].target.with_suffix(""): unit for unit in units}
    gpus = torch.cuda.device_count() if plan.gpus is None else plan.gpus
    workers = min(default_workers(gpus) if plan.workers is None else plan.workers, len(jobs))
    threads = max(default_workers(0) // max(workers, 1), 1)
    start = Worker(load, plan.output / EXTRACTOR, plan.batch, threads, gpus)
    bar = bars.add_task("Extracting features", total=len(files))
    done = run_each(jobs, extract, _crash, workers, start) if workers else _run_here(jobs, start)
    for folder, listed in done:
        problems.listed += listed
        bars.advance(bar, len(jobs[folder]))


def _run_here(jobs: Mapping[Path, list[PictureFile]], start: Worker) -> Iterator[tuple[Path, list[Problem]]]:
    start(0)
    for folder, files in jobs.items():
        yield folder, extract(folder, files)


def _crash(files: list[PictureFile]) -> Problem:
    finding = "reading it ended the process: damaged, or too large for memory"
    if len(files) > 1:
        finding = f"reading it, or one of {len(files) - 1} files beside it, ended the process"
    return refuse(files[0].path, finding, "copy it again, or leave it out").problem


def _refuse(problems: Problems, total: int) -> None:
    """Stops where files could not be read, when all others are done."""
    if problems.errors:
        first, count = problems.errors[0], len(problems.errors)
        more = f" ({count} of {total} files like it; the others are done, and the same command goes on)"
        raise UserError(f"{first}{more}")


def _write_table(plan: Plan, hospital: str, entries: list[_Entry], wanted: Mapping[str, PictureFile]) -> None:
    """Lists a hospital's files of features, as its folder would in the usual place."""
    table = pd.DataFrame(
        {
            PATIENT: [entry.patient for entry in entries],
            "file": [f"../{FEATURES}/{wanted[entry.key].target.name}" for entry in entries],
            "source": [entry.file.path.name for entry in entries],
        }
    )
    folder = plan.output / hospital
    folder.mkdir(exist_ok=True)
    with replacing(folder / f"{plan.modality}.csv") as temporary:
        table.to_csv(temporary, index=False)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
