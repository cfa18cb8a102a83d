"""An archive that speaks DICOMweb: which studies there are, their instances, and what is stored there.

Source: DICOM PS3.18 (QIDO-RS, WADO-RS, STOW-RS) and its annex F (DICOM as JSON).
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from foundation.errors import UserError
from serve.clinic.multipart import joined, parts
from serve.conversation import transport as options

_JSON, _DICOM = "application/dicom+json", "application/dicom"
_PAGE = 1000  # results asked for at a time
_RESULTS = 1_000_000  # of one search
_LARGEST = 512 << 20  # bytes of a reply
_PATIENT, _STUDY, _SERIES, _INSTANCE = "00100020", "0020000D", "0020000E", "00080018"
_MODALITY, _COUNT = "00080060", "00201208"
_FAILED = "00081198"  # FailedSOPSequence
_STUDIES = "/studies"  # searched alone, it fails by no fault of a study
_LATER = {
    *(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY),
    *(HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT),
}
_NOT_THERE = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE}
_ADDRESS = "give the address of DICOMweb as archive.address"


class UnavailableError(UserError):
    """Nobody answers, or not now: no fault of a study."""


class LateError(UnavailableError):
    """No answer in time: nobody is there, or it is one study that takes too long."""


class ArchiveError(UserError):
    """The archive refused something of one study, or its reply is none."""


@dataclass(frozen=True)
class ListedStudy:
    """A study as the archive lists it.

    Attributes:
        study: its StudyInstanceUID.
        patient: PatientID; empty where there is none.
        instances: how many it holds; 0 where the archive does not tell.
    """

    study: str
    patient: str
    instances: int


@dataclass(frozen=True, order=True)
class ListedInstance:
    """An instance of a study, likewise.

    Attributes:
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        modality: of the series.
        patient: PatientID as the archive has it.
    """

    series: str
    instance: str
    modality: str
    patient: str


class Archive:
    """Speaks with one DICOMweb server over connections that it keeps.

    Args:
        address: above `/studies`, such as `https://pacs.example.org/dicom-web`.
        authorization: what the header of this name says; none if None.
        seconds: to wait for a reply, until its last byte.
        trust: what its certificate is checked by; the machine's authorities if None.
        carrier: of requests; the network if None.
    """

    def __init__(
        self,
        address: str,
        authorization: str | None = None,
        seconds: float = 60,
        trust: ssl.SSLContext | None = None,
        carrier: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = address.rstrip("/")
        self._seconds = seconds
        headers = {"Accept-Encoding": "identity"}  # what is unpacked has no size that can be foreseen
        headers |= {} if authorization is None else {"Authorization": authorization}
        self._http = httpx.AsyncClient(headers=headers, transport=carrier, **options(seconds, trust))

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()

    async def studies(self, filters: Mapping[str, str]) -> AsyncIterator[ListedStudy]:
        """Those that match, such as `{"ModalitiesInStudy": "CT", "StudyDate": "20260101-"}`, as pages of them come."""
        query: dict[str, str | list[str]] = {**filters, "includefield": _COUNT}
        async for item in self._items(_STUDIES, query, (_STUDY, _PATIENT)):
            yield ListedStudy(_text(item, _STUDY), _text(item, _PATIENT), _number(item, _COUNT))

    async def patients(self, study: str) -> tuple[set[str], int]:
        """Whose a study is now, and how many instances it has; of nobody where there is no such study.

        Instances are counted where the archive tells no number, which the standard leaves to it (PS3.18, 10.6.3.3).
        """
        listed = [one async for one in self.studies({"StudyInstanceUID": study}) if one.study == study]
        count = sum(one.instances for one in listed)
        if listed and not all(one.instances for one in listed):
            count = len(await self.instances(study))
        return {one.patient for one in listed}, count

    async def instances(self, study: str, instance: str | None = None) -> list[ListedInstance]:
        """Those of a study, in order; only the one of a SOPInstanceUID where that is asked."""
        wanted = {} if instance is None else {"SOPInstanceUID": instance}
        fields = {"includefield": [_MODALITY, _PATIENT]}
        listed = [
            ListedInstance(_text(one, _SERIES), _text(one, _INSTANCE), _text(one, _MODALITY), _text(one, _PATIENT))
            async for one in self._items(f"/studies/{study}/instances", {**wanted, **fields}, (_INSTANCE,))
        ]
        return sorted(one for one in listed if instance in (None, one.instance))

    async def retrieve(self, study: str, listed: ListedInstance) -> bytes:
        """An instance as a DICOM file, encoded as the archive keeps it.

        Raises:
            ArchiveError: if it comes not, not whole, or with others.
        """
        path = f"/studies/{study}/series/{listed.series}/instances/{listed.instance}"
        accept = f'multipart/related; type="{_DICOM}"; transfer-syntax=*'
        reply = await self._send("GET", path, {"Accept": accept})
        files = parts(reply.headers.get("content-type", ""), reply.content)
        if files is None or len(files) != 1:
            raise ArchiveError(f"{self._address}: a retrieved instance came not whole; look into the archive's log")
        return files[0]

    async def store(self, study: str, files: Sequence[bytes]) -> None:
        """Stores DICOM files in a study; those that are there already stay as they are.

        Raises:
            ArchiveError: if it does not take all.
        """
        boundary = secrets.token_hex(16)
        headers = {
            "Content-Type": f'multipart/related; type="{_DICOM}"; boundary={boundary}',
            "Accept": _JSON,
        }
        reply = await self._send("POST", f"/studies/{study}", headers, content=joined(files, boundary, _DICOM))
        content = self._json(reply)
        if not isinstance(content, dict) or content.get(_FAILED, {}).get("Value"):
            raise ArchiveError(f"{self._address}: it did not take what was to be stored; look into the archive's log")

    async def _items(
        self, path: str, query: Mapping[str, str | list[str]], key: Sequence[str]
    ) -> AsyncIterator[dict[str, Any]]:
        """Results of a search, page by page, until one brings nothing new.

        A short page is not the last: servers have limits of their own, and Orthanc 1.10 counts `limit` from the first
        result instead of from `offset` where `ModalitiesInStudy` is a filter. So it is asked for as many more.
        """
        seen: set[tuple[str, ...]] = set()
        while True:
            page = {**query, "limit": str(len(seen) + _PAGE), "offset": str(len(seen))}
            reply = await self._send("GET", path, {"Accept": _JSON}, page)
            kind = UnavailableError if path == _STUDIES else ArchiveError
            content = [] if reply.status_code == HTTPStatus.NO_CONTENT else self._json(reply, kind)
            if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
                raise kind(f"{self._address}: the answer to a search is none; {_ADDRESS}")
            new = {tuple(_text(item, tag) for tag in key): item for item in content}
            new = {name: item for name, item in new.items() if name not in seen}
            if not new:
                return
            for item in new.values():
                yield item
            seen |= new.keys()
            if len(seen) > _RESULTS:
                advice = "search for less, such as find.StudyDate=20260101-"
                raise ArchiveError(f"{self._address}: a search has more than {_RESULTS} results; {advice}")

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str | list[str]] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        # Only a timeout of the whole ends a reply that drips.
        try:
            async with asyncio.timeout(self._seconds):
                asked = self._http.stream(method, self._address + path, params=query, headers=headers, content=content)
                async with asked as stream:
                    reply = await self._read(stream)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = f"the archive does not answer ({type(error).__name__})"
            late = isinstance(error, httpx.TimeoutException | TimeoutError) and path != _STUDIES
            kind = LateError if late else UnavailableError
            raise kind(f"{self._address}: {reason}; start it, or set archive.address") from error
        if reply.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise UnavailableError(
                f"{self._address}: it lets nobody in ({reply.status_code}); set archive.authorization"
            )
        # No study is at fault where a search of all fails, or what stands before the archive does not reach it.
        if reply.status_code in _LATER or (path == _STUDIES and reply.is_server_error):
            late = path != _STUDIES and reply.status_code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT)
            kind = LateError if late else UnavailableError
            raise kind(f"{self._address}: the archive is busy ({reply.status_code}); it is asked again")
        if path == _STUDIES and (reply.is_redirect or reply.status_code in _NOT_THERE):
            raise UnavailableError(f"{self._address}: it has no /studies ({reply.status_code}); {_ADDRESS}")
        if not reply.is_success:
            raise ArchiveError(f"{self._address}: refused with {reply.status_code}; look into the archive's log")
        return reply

    async def _read(self, stream: httpx.Response) -> httpx.Response:
        """A reply, whole and of bounded size."""
        if stream.headers.get("Content-Encoding", "identity") != "identity":
            raise ArchiveError(f"{self._address}: a reply came compressed, unasked; look into the archive's settings")
        body = bytearray()
        async for part in stream.aiter_bytes():
            body += part
            if len(body) > _LARGEST:
                raise ArchiveError(f"{self._address}: a reply is larger than {_LARGEST >> 20} MiB, and is not read")
        return httpx.Response(stream.status_code, headers=stream.headers, content=bytes(body), request=stream.request)

    def _json(self, reply: httpx.Response, kind: type[UserError] = ArchiveError) -> Any:
        try:
            return reply.json()
        except ValueError as error:
            raise kind(f"{self._address}: a reply is no JSON; {_ADDRESS}") from error


def _text(item: Mapping[str, Any], tag: str) -> str:
    """An attribute's first value; empty where there is none."""
    try:
        values = (item.get(tag) or {}).get("Value") or [""]
        return str(values[0] if values[0] is not None else "").strip()
    except (AttributeError, TypeError, LookupError) as error:
        raise ArchiveError(f"an attribute {tag} is not as DICOM JSON has it; look into the archive's log") from error


def _number(item: Mapping[str, Any], tag: str) -> int:
    text = _text(item, tag)
    return int(text) if text.isascii() and text.isdigit() else 0
