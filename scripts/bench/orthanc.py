"""Studies through a real Orthanc while the service is killed at random: each answered once, none mixed up.

    python scripts/bench/orthanc.py runs/demo/export --studies 1000

Takes an export of a model that reads radiology, and Orthanc from Debian's packages (`apt-get install orthanc
orthanc-dicomweb`). Synthetic CT studies, a patient each and no two alike, are stored in an Orthanc of its own; an
endpoint is started, and `python -m serve.clinic start` before both, which SIGKILL ends at random moments (0 to 8
seconds of its processor time) until all studies are stored. Then every study of the archive is looked at: how many
reports it has, whether their patient is its patient, whether the digest of what was asked is that of its own images as
training's reader reads them, and whether the words are what the endpoint says when it is asked that again.
"""

import argparse
import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pydicom
from pydicom.dataset import Dataset

from foundation.data.problems import Problems
from foundation.modalities.radiology.scan import SliceSettings
from foundation.modalities.radiology.slices import read_slices
from foundation.polling import wait_until
from foundation.ports import free_ports
from serve.asgi import launch
from serve.client import Client
from serve.clinic.contract import Contract, read_contract
from serve.clinic.worklist import FILE, Worklist
from serve.findings import sentence
from serve.server import stop
from tests.serve.clinic.orthanc_server import INSTALLED, running
from tests.serve.clinic.studies import SyntheticStudy, to_file

_AT_WORK = "worklist: "  # what it prints first
_LONGEST = 8.0  # seconds of processor time that the service lives after that: others may be busy on the machine


@dataclass
class Place:
    """Where all of it runs."""

    folder: Path
    export: Path
    archive: str

    @property
    def server(self) -> Path:
        return self.folder / "serve"

    @property
    def clinic(self) -> Path:
        return self.folder / "clinic"

    def service(self, *settings: str) -> subprocess.Popen[bytes]:
        """The service, as an operator starts it."""
        line = [sys.executable, "-m", "serve.clinic", "start", f"bundle={self.export}", f"server={self.server}"]
        line += [f"archive.address={self.archive}", f"output={self.clinic}", "settle_seconds=0", "every_seconds=1"]
        with (self.folder / "clinic.txt").open("ab") as log:
            return subprocess.Popen([*line, "heat_maps=false", *settings], stdout=log, stderr=log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="output folder of python -m serve.export")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    if not INSTALLED:
        sys.exit("error: no Orthanc; apt-get install orthanc orthanc-dicomweb")
    contract = read_contract(options.export)
    studies = [SyntheticStudy(number) for number in range(options.studies)]
    with tempfile.TemporaryDirectory(prefix="orthanc-") as name, running(Path(name) / "orthanc") as address:
        place = Place(Path(name), options.export, address)
        begun = time.monotonic()
        _fill(address, studies)
        print(f"{len(studies)} studies stored in {time.monotonic() - begun:.0f} s", flush=True)
        (port,) = free_ports(1)
        launch.start(options.export / "bundle", contract.schema, place.server, port)
        try:
            begun = time.monotonic()
            kills = _through(place, contract, len(studies), random.Random(options.seed))
            seconds = time.monotonic() - begun
            print(f"worked through in {seconds:.0f} s, killed {kills} times", flush=True)
            wrong = _wrong(place, contract, studies)
        finally:
            stop(place.server)
    for what, count in sorted(wrong.items()):
        print(f"{what}: {count}")
    verdict = "each answered once, none mixed up" if not wrong else "WRONG"
    print(f"{len(studies)} studies, {kills} kills, {sum(wrong.values())} wrong: {verdict}")
    sys.exit(bool(wrong))


def _fill(address: str, studies: list[SyntheticStudy]) -> None:
    base = address.removesuffix("/dicom-web")
    with httpx.Client(timeout=60) as client:
        for study in studies:
            for dataset in study.datasets():
                client.post(f"{base}/instances", content=to_file(dataset)).raise_for_status()


def _through(place: Place, contract: Contract, count: int, moments: random.Random) -> int:
    """Starts the service again and again, kills it each time, and lets the last one finish; how many kills."""
    kills = 0
    log = place.folder / "clinic.txt"
    log.touch()
    while True:
        begun = log.read_text().count(_AT_WORK)
        process = place.service()
        wait_until(lambda begun=begun: log.read_text().count(_AT_WORK) > begun, every=0.05, seconds=120)
        watched = psutil.Process(process.pid)
        end = _spent(watched) + moments.uniform(0, _LONGEST)
        while process.poll() is None and _spent(watched) < end:
            time.sleep(0.02)
        if process.poll() is not None:
            sys.exit(f"error: the service ended by itself:\n{log.read_text()[-2000:]}")
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        counts = _counts(place, contract)
        print(f"kill {kills}: {counts}", flush=True)
        if counts["stored"] + counts["refused"] == count:
            place.service("once=true").wait()
            return kills


def _spent(process: psutil.Process) -> float:
    """Seconds of processor time, of its own."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _counts(place: Place, contract: Contract) -> dict[str, int]:
    worklist = Worklist(place.clinic / FILE, contract.schema.name)
    counts = worklist.counts()
    worklist.close()
    return counts


def _wrong(place: Place, contract: Contract, studies: list[SyntheticStudy]) -> Counter[str]:
    """What is not as it should be, by kind."""
    base = place.archive.removesuffix("/dicom-web")
    client = Client.of(place.server)
    wrong: Counter[str] = Counter()
    with httpx.Client(timeout=60) as archive:

        def reports_of(study: SyntheticStudy) -> list[Dataset]:
            query = {"Level": "Instance", "Query": {"StudyInstanceUID": study.uid, "Modality": "SR"}}
            names = archive.post(f"{base}/tools/find", json=query).raise_for_status().json()
            files = [archive.get(f"{base}/instances/{name}/file").raise_for_status().content for name in names]
            return [pydicom.dcmread(io.BytesIO(content)) for content in files]

        def check(study: SyntheticStudy) -> None:
            reports = reports_of(study)
            if len(reports) != 1:
                wrong[f"{len(reports)} reports of a study"] += 1
                return
            (report,) = reports
            body = _request(study, contract)
            lines = {str(item.TextValue) for item in report.ContentSequence if item.ValueType == "TEXT"}
            wrong["another patient's report"] += (report.PatientID, report.StudyInstanceUID) != (
                study.patient,
                study.uid,
            )
            wrong["made of another study's images"] += (
                f"SHA-256 of what was asked: {hashlib.sha256(body).hexdigest()}" not in lines
            )
            wrong["says another answer"] += sentence(client.predict(body)) not in lines

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(check, studies))
    worklist = Worklist(place.clinic / FILE, contract.schema.name)
    wrong["refused"] += worklist.counts()["refused"]
    tries = Counter(row.tries for row in worklist.rows("stored"))
    worklist.close()
    print(f"begun once: {tries[1]}, more often: {sum(tries.values()) - tries[1]}, at most {max(tries)} times")
    return +wrong


def _request(study: SyntheticStudy, contract: Contract) -> bytes:
    """What must have been asked about a study, from its files, by training's own reader."""
    with tempfile.TemporaryDirectory() as folder:
        for place, dataset in enumerate(study.datasets()):
            dataset.save_as(Path(folder) / f"{place}.dcm", enforce_file_format=True)
        images = read_slices(Path(folder), "dicom", SliceSettings(), Problems())
    return json.dumps({"radiology": contract.schema.modalities["radiology"].write(images)}).encode()


if __name__ == "__main__":
    main()
