"""The command before a real Orthanc and endpoint, killed on its way: each study is answered once all the same."""

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset

from foundation.polling import wait_until
from foundation.ports import free_ports
from serve.asgi import launch
from serve.clinic.worklist import FILE, Worklist
from serve.schema import BundleSchema
from serve.server import stop
from tests.serve.clinic.orthanc_server import INSTALLED, running
from tests.serve.clinic.studies import SyntheticStudy, to_file

STUDIES = 5
pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(not INSTALLED, reason="no Orthanc; apt-get install orthanc orthanc-dicomweb"),
]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    with running(tmp_path / "orthanc") as address:
        yield address


@pytest.fixture
def endpoint(bundle: Path, tmp_path: Path) -> Iterator[Path]:
    (port,) = free_ports(1)
    launch.start(bundle, BundleSchema.load(bundle), tmp_path / "serve", port)
    yield tmp_path / "serve"
    stop(tmp_path / "serve")


def fill(archive: str, datasets: list[Dataset]) -> None:
    for dataset in datasets:
        base = archive.removesuffix("/dicom-web")
        httpx.post(f"{base}/instances", content=to_file(dataset), timeout=60).raise_for_status()


def documents(archive: str, modality: str) -> list[Dataset]:
    base = archive.removesuffix("/dicom-web")
    query = {"Level": "Instance", "Query": {"Modality": modality}}
    names = httpx.post(f"{base}/tools/find", json=query, timeout=60).json()
    return [
        pydicom.dcmread(io.BytesIO(httpx.get(f"{base}/instances/{name}/file", timeout=60).content)) for name in names
    ]


def test_studies_of_a_real_archive_are_answered_once_through_kills(
    archive: str, endpoint: Path, bundle: Path, tmp_path: Path
):
    several = [SyntheticStudy(number, slices=2) for number in range(STUDIES)]
    fill(archive, [dataset for study in several for dataset in study.datasets()])
    one, other = SyntheticStudy(STUDIES, slices=1, series=2).datasets()
    other.PatientID = "P999999"  # under the same StudyInstanceUID: Orthanc keeps it as a second study of that name
    fill(archive, [one, other])
    line = [sys.executable, "-m", "serve.clinic", "start", f"bundle={bundle.parent}", f"server={endpoint}"]
    line += [f"archive.address={archive}", f"output={tmp_path / 'clinic'}", "settle_seconds=0", "every_seconds=0.5"]
    model = BundleSchema.load(bundle).name

    def counts() -> dict[str, int]:
        if not (tmp_path / "clinic" / FILE).is_file():
            return Counter()
        worklist = Worklist(tmp_path / "clinic" / FILE, model)
        try:
            return worklist.counts()
        finally:
            worklist.close()

    for stored in (1, 3):
        process = subprocess.Popen(line)
        assert wait_until(lambda stored=stored: counts()["stored"] >= stored, every=0.05, seconds=300)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*line, "once=true"], env=os.environ, capture_output=True, text=True, timeout=500, check=True)
    assert "P999999" not in done.stdout + done.stderr
    assert counts() == {"asked": 0, "answered": 0, "stored": STUDIES, "refused": 1}
    whose = {study.uid: study.patient for study in several}
    reports, maps = documents(archive, "SR"), documents(archive, "OT")
    assert sorted((one.StudyInstanceUID, one.PatientID) for one in reports) == sorted(whose.items())
    assert Counter(one.StudyInstanceUID for one in maps) == dict.fromkeys(whose, 2)
    assert all(one.PatientID == whose[one.StudyInstanceUID] for one in maps)
    worklist = Worklist(tmp_path / "clinic" / FILE, model)
    assert [row.line.partition(";")[0] for row in worklist.rows("refused")] == ["PatientID: 2 patients in one study"]
