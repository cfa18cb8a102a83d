"""The client of DICOMweb: searches in pages, files whole or not at all, and one line for each failure."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.clinic import archive as module
from serve.clinic.archive import Archive, ArchiveError, ListedInstance, ListedStudy, UnavailableError
from serve.clinic.multipart import joined, parts
from tests.serve.clinic.conftest import ADDRESS
from tests.serve.clinic.fake_archive import FakeArchive
from tests.serve.clinic.studies import SyntheticStudy, to_file

Value = TypeVar("Value")


def asked(carrier: httpx.AsyncBaseTransport, ask: Callable[[Archive], Coroutine[Any, Any, Value]]) -> Value:
    async def run() -> Value:
        archive = Archive(ADDRESS, seconds=0.5, carrier=carrier)
        try:
            return await ask(archive)
        finally:
            await archive.close()

    return asyncio.run(run())


async def listed_studies(archive: Archive) -> list[ListedStudy]:
    return [one async for one in archive.studies({})]


def replying(reply: httpx.Response) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: reply)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("most", [2, 9], ids=["fewer than asked for", "as asked for"])
@pytest.mark.parametrize("from_first", [False, True], ids=["as the standard says", "as Orthanc 1.10"])
def test_a_search_brings_all_pages(monkeypatch: pytest.MonkeyPatch, count: int, most: int, from_first: bool):
    monkeypatch.setattr(module, "_PAGE", 3)
    carrier = FakeArchive(dataset for number in range(count) for dataset in SyntheticStudy(number).datasets())
    carrier.most, carrier.limit_from_first = most, from_first
    listed = asked(carrier, listed_studies)
    assert [(one.study, one.patient, one.instances) for one in listed] == [
        (SyntheticStudy(number).uid, SyntheticStudy(number).patient, 3) for number in range(count)
    ]


def test_a_server_that_knows_no_offset_ends_the_search(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_PAGE", 1)
    item = {"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00100020": {"vr": "LO"}}
    listed = asked(replying(httpx.Response(200, json=[item])), listed_studies)
    assert [(one.study, one.patient, one.instances) for one in listed] == [("1.2", "", 0)]


def test_a_file_comes_as_it_was_stored():
    carrier = FakeArchive(SyntheticStudy(1).datasets())
    first = next(SyntheticStudy(1).datasets())
    listed = ListedInstance(first.SeriesInstanceUID, first.SOPInstanceUID, "CT", first.PatientID)
    assert asked(carrier, lambda archive: archive.retrieve(first.StudyInstanceUID, listed)) == to_file(first)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_bodies_of_several_files_come_apart_as_they_were_put_together(files: list[bytes]):
    body = joined(files, "b0undary", "application/dicom")
    assert parts('multipart/related; type="application/dicom"; boundary="b0undary"', body) == files


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.data())
def test_a_body_that_was_cut_off_is_none(files: list[bytes], data: st.DataObject):
    body = joined(files, "b0undary", "application/dicom").removesuffix(b"--\r\n")
    cut = data.draw(st.integers(0, len(body)))
    assert parts("multipart/related; boundary=b0undary", body[:cut]) is None


@pytest.mark.parametrize("kind", ["application/dicom", "multipart/related", "multipart/mixed; boundary=b", ""])
def test_a_body_of_another_kind_is_none(kind: str):
    assert parts(kind, b"--b\r\n\r\nx\r\n--b--\r\n") is None


@pytest.mark.parametrize(
    ("reply", "error", "line"),
    [
        (httpx.Response(401), UnavailableError, f"{ADDRESS}: it lets nobody in (401); set archive.authorization"),
        (httpx.Response(503), UnavailableError, f"{ADDRESS}: the archive is busy (503); it is asked again"),
        (httpx.Response(502), UnavailableError, f"{ADDRESS}: the archive is busy (502); it is asked again"),
        (httpx.Response(500), UnavailableError, f"{ADDRESS}: the archive is busy (500); it is asked again"),
        (httpx.Response(404), UnavailableError, f"{ADDRESS}: it has no /studies (404); give the address of DICOMweb"),
        (httpx.Response(405), UnavailableError, f"{ADDRESS}: it has no /studies (405); give the address of DICOMweb"),
        (httpx.Response(302), UnavailableError, f"{ADDRESS}: it has no /studies (302); give the address of DICOMweb"),
        (httpx.Response(400), ArchiveError, f"{ADDRESS}: refused with 400; look into the archive's log"),
        (httpx.Response(200, text="<html>"), UnavailableError, f"{ADDRESS}: a reply is no JSON; give the address"),
        (httpx.Response(200, json={"a": 1}), UnavailableError, f"{ADDRESS}: the answer to a search is none; give the"),
        (httpx.Response(200, json=[{"0020000D": "1.2"}]), ArchiveError, "an attribute 0020000D is not as DICOM JSON"),
        (httpx.Response(200, json=[{"0020000D": {"Value": 1}}]), ArchiveError, "an attribute 0020000D is not as DICOM"),
    ],
)
def test_what_is_no_answer_to_a_search_is_one_line(reply: httpx.Response, error: type[Exception], line: str):
    with pytest.raises(error) as caught:
        asked(replying(reply), listed_studies)
    assert str(caught.value).startswith(line)


def test_an_archive_that_never_ends_its_reply_is_given_up():
    class Dripping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    with pytest.raises(UnavailableError, match="the archive does not answer .TimeoutError.; start it, or set"):
        asked(Dripping(), listed_studies)


def test_what_the_archive_does_not_take_is_an_error():
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}
    with pytest.raises(ArchiveError, match="it did not take what was to be stored"):
        asked(replying(httpx.Response(202, json=failed)), lambda archive: archive.store("1.2", [b"x"]))


def test_an_archive_that_always_lists_new_studies_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_RESULTS", 20)
    count = 0

    def new(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return httpx.Response(200, json=[{"0020000D": {"vr": "UI", "Value": [f"1.{count}"]}}] if count < 100 else [])

    with pytest.raises(ArchiveError, match="a search has more than 20 results; search for less"):
        asked(httpx.MockTransport(new), listed_studies)


def test_a_reply_without_end_or_compressed_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LARGEST", 1 << 20)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * (1 << 16)

    with pytest.raises(ArchiveError, match="a reply is larger than 1 MiB, and is not read"):
        asked(replying(httpx.Response(200, content=endless())), listed_studies)
    packed = httpx.Response(200, content=gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"})
    with pytest.raises(ArchiveError, match="a reply came compressed, unasked"):
        asked(replying(packed), listed_studies)
