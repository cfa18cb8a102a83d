"""The Cancer Imaging Archive: radiology series of a collection.

Interface: NBIA search, https://wiki.cancerimagingarchive.net/display/Public/NBIA+Search+REST+API+Guide
"""

import os
import shutil
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, Field, StringConstraints
from rich.progress import Progress, TaskID

from foundation.data.portals.archive import unpack
from foundation.data.portals.manifest import digest_folder
from foundation.data.portals.transfer import Download, Transfer
from foundation.data.problems import DataError

PORTAL = "tcia"
_SLACK = 1 << 26  # bytes that an archive may have beyond its images


class Series(BaseModel):
    """One DICOM series, fields as the portal names them; size in bytes."""

    uid: Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$"), Field(alias="SeriesInstanceUID")]
    patient: Annotated[str, Field(alias="PatientID")]
    modality: Annotated[str, Field(alias="Modality")]
    images: Annotated[int, Field(alias="ImageCount", ge=1)]
    bytes: Annotated[int, Field(alias="FileSize", ge=0)]

    @property
    def place(self) -> str:
        """Its folder in the cohort's."""
        return f"radiology/{self.patient}/{self.uid}"


class Tcia:
    """The portal.

    Args:
        transfer: asks it.
        url: of the interface.
        collection: for example `TCGA-LUAD`.
    """

    def __init__(self, transfer: Transfer, url: str, collection: str) -> None:
        self._transfer, self._url, self._collection = transfer, url.rstrip("/"), collection

    def series(self, kinds: list[str], smallest: int) -> list[Series]:
        """The collection's series, the largest of a patient first; none where the portal answers nothing at all.

        Args:
            kinds: DICOM modalities, for example `CT`.
            smallest: series of fewer images (localizers) are left out.
        """
        params = {"Collection": self._collection, "format": "json"}
        listed = self._transfer.ask(PORTAL, f"{self._url}/getSeries", list[Series], params=params, empty=b"[]")
        chosen = [each for each in listed if each.modality in kinds and each.images >= smallest]
        return sorted(chosen, key=lambda each: (each.patient, -each.images, each.uid))

    def fetch(self, series: Series, bars: Progress | None = None, task: TaskID | None = None) -> None:
        """Receives a series and unpacks it to its folder.

        Raises:
            DataError: if it cannot be had, or is not what the portal says it is.
        """
        manifest, folder = self._transfer.manifest, self._transfer.folder / series.place
        if manifest.holds(series.place):
            return
        if folder.exists():
            shutil.rmtree(folder)  # of an unknown past, or damaged
        wanted = self.download(series)
        archive = self._transfer.fetch(wanted, bars, task)
        writing = folder.with_name(f".{series.uid}.writing")
        shutil.rmtree(writing, ignore_errors=True)
        try:
            unpack(archive, writing, series.images, 2 * series.bytes + _SLACK)
        except DataError:
            shutil.rmtree(writing, ignore_errors=True)
            manifest.drop(wanted.path)
            raise
        manifest.add(replace(wanted, path=series.place).entry(*digest_folder(writing)))
        os.replace(writing, folder)
        manifest.drop(wanted.path)

    def download(self, series: Series) -> Download:
        """How a series' archive is received; the portal says neither its size nor its digest."""
        query = urlencode({"SeriesInstanceUID": series.uid})
        return Download(
            url=f"{self._url}/getImageWithMD5Hash?{query}",
            path=f"downloads/tcia/{series.uid}.zip",
            kind="radiology",
            portal=PORTAL,
            id=series.uid,
            patient=series.patient,
            bytes=None,
            md5="",
            most=2 * series.bytes + _SLACK,
        )
