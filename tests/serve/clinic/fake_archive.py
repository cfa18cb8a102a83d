"""A DICOMweb server in this process: a carrier of httpx before a dictionary of instances."""

import io
import json
from collections.abc import Callable, Iterable

import httpx
import pydicom
from pydicom.dataset import Dataset

from serve.clinic.multipart import joined, parts
from tests.serve.clinic.studies import to_file

_BOUNDARY = "fake-boundary"
_DICOM = "application/dicom"
_LISTED = {
    "00100020": "PatientID",
    "0020000D": "StudyInstanceUID",
    "0020000E": "SeriesInstanceUID",
    "00080018": "SOPInstanceUID",
    "00080060": "Modality",
}


class FakeArchive(httpx.AsyncBaseTransport):
    """Keeps files by SOPInstanceUID, the first of each; counts what it is asked, and can be made to fail.

    Attributes:
        files: what is stored.
        stored: UIDs in the order in which they came by STOW, those that were there already, too.
        before: is called with each request, and may raise or give a reply of its own.
        most: results of a search that it gives at a time, whatever is asked for.
        limit_from_first: whether it counts `limit` from the first result, not from `offset`.
    """

    def __init__(self, datasets: Iterable[Dataset] = ()) -> None:
        self.files: dict[str, bytes] = {}
        self._read: dict[bytes, Dataset] = {}
        self.stored: list[str] = []
        self.most = 1000
        self.limit_from_first = False
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        for dataset in datasets:
            self.add(dataset)

    def add(self, dataset: Dataset) -> None:
        self.files.setdefault(dataset.SOPInstanceUID, to_file(dataset))

    def datasets(self, modality: str | None = None) -> list[Dataset]:
        for content in self.files.values():
            if content not in self._read:
                self._read[content] = pydicom.dcmread(io.BytesIO(content))
        read = [self._read[content] for content in self.files.values()]
        return [one for one in read if modality in (None, one.Modality)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = self.before(request)
        if reply is not None:
            return reply
        path = [part for part in request.url.path.split("/") if part][1:]  # below /dicom-web
        if request.method == "POST":
            return self._store(request)
        if len(path) == 6:
            return self._file(path[5])
        items = self._instances(path[1]) if len(path) == 3 else self._studies()
        wanted = dict(request.url.params)
        start, most = int(wanted["offset"]), int(wanted["limit"])
        chosen = [item for item in items if all(self._matches(item, name, wanted) for name in _LISTED.values())]
        end = most if self.limit_from_first else start + most
        page = chosen[start : min(end, start + self.most)]
        return httpx.Response(200, json=page) if page else httpx.Response(204)

    @staticmethod
    def _matches(item: dict[str, dict[str, list[object]]], name: str, wanted: dict[str, str]) -> bool:
        tag = next(tag for tag, keyword in _LISTED.items() if keyword == name)
        return name not in wanted or item[tag]["Value"][0] == wanted[name]

    def _instances(self, study: str) -> list[dict[str, dict[str, list[object]]]]:
        return [
            {tag: {"Value": [str(one.get(name, ""))]} for tag, name in _LISTED.items()}
            for one in self.datasets()
            if one.StudyInstanceUID == study
        ]

    def _studies(self) -> list[dict[str, dict[str, list[object]]]]:
        counts: dict[tuple[str, str], int] = {}
        for one in self.datasets():
            key = (one.StudyInstanceUID, str(one.get("PatientID", "")))
            counts[key] = counts.get(key, 0) + 1
        values = [{"0020000D": study, "00100020": patient, "00201208": n} for (study, patient), n in counts.items()]
        return [{tag: {"Value": [value]} for tag, value in one.items()} for one in values]

    def _file(self, uid: str) -> httpx.Response:
        content_type = f'multipart/related; type="{_DICOM}"; boundary="{_BOUNDARY}"'
        body = joined([self.files[uid]], _BOUNDARY, _DICOM)
        return httpx.Response(200, content=body, headers={"Content-Type": content_type})

    def _store(self, request: httpx.Request) -> httpx.Response:
        for content in parts(request.headers["content-type"], request.content) or []:
            dataset = pydicom.dcmread(io.BytesIO(content))
            self.stored.append(dataset.SOPInstanceUID)
            self.files.setdefault(dataset.SOPInstanceUID, content)
        return httpx.Response(200, content=json.dumps({"00081199": {"vr": "SQ", "Value": []}}))
