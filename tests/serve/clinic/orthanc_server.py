"""An Orthanc with DICOMweb for a test, from Debian's packages: `apt-get install orthanc orthanc-dicomweb`.

It runs as the present user, on ports of its own, with everything that it writes in one folder; an Orthanc that the
machine belongs to is left alone.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from foundation.ports import LOOPBACK, free_ports

PROGRAM = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
INSTALLED = PROGRAM is not None and PLUGIN.exists()


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of its DICOMweb; it is ended on leaving."""
    http, dicom = free_ports(2)
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "orthanc.txt").open("wb") as log:
        process = subprocess.Popen([str(PROGRAM), str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        address = f"http://{LOOPBACK}:{http}"
        end = time.monotonic() + 60
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < end, (folder / "orthanc.txt").read_text()[-2000:]
            time.sleep(0.1)
        yield f"{address}/dicom-web"
    finally:
        process.terminate()
        process.wait(60)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/system").is_success
    except httpx.TransportError:
        return False
