"""An archive or an endpoint that fails at some: what that costs the others, and what is done of it twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from foundation.errors import UserError
from foundation.modalities.request import RequestError
from serve.clinic.archive import Archive
from serve.clinic.document import document_uid
from serve.clinic.report import REPORT
from serve.clinic.study import fetch
from serve.conversation import LateError, Patient, RefusedError
from serve.explained import Explanation
from serve.schema import Response
from tests.serve.clinic.conftest import ADDRESS, Clinic
from tests.serve.clinic.fake_archive import FakeArchive
from tests.serve.clinic.stub_endpoint import texts
from tests.serve.clinic.studies import SyntheticStudy

Make = Callable[..., Clinic]
NO_MAPS = "no heat maps: the endpoint did not say what the answer goes by."


@pytest.mark.parametrize("status", [408, 502, 504])
def test_a_proxy_whose_archive_restarts_costs_no_study_anything(clinic: Make, status: int):
    here = clinic(SyntheticStudy(1).datasets())
    here.carrier.before = lambda request: httpx.Response(status) if "/series/" in request.url.path else None
    for _ in range(3):
        here.run(failures=1)
    assert here.worklist.counts() == {"asked": 1, "answered": 0, "stored": 0, "refused": 0}


@pytest.mark.parametrize(
    "reply",
    [httpx.Response(500), httpx.Response(400), httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])],
)
def test_a_service_outlives_a_search_that_fails(clinic: Make, reply: httpx.Response, caplog: pytest.LogCaptureFixture):
    here = clinic(SyntheticStudy(1).datasets())
    here.carrier.before = lambda request: reply
    here.run()
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(f"{ADDRESS}: ")
    here.carrier.before = lambda request: None
    assert here.run().worklist.counts()["stored"] == 1


@pytest.mark.parametrize("reply", [httpx.Response(404), httpx.Response(302), httpx.Response(200, text="<html>")])
def test_a_wrong_address_is_no_failure_of_a_study(
    clinic: Make, reply: httpx.Response, caplog: pytest.LogCaptureFixture
):
    here = clinic(SyntheticStudy(1).datasets())
    here.carrier.before = lambda request: reply if "/series/" in request.url.path else None
    here.run(failures=9)  # noted, and failed by itself: its image is not there
    (row,) = here.worklist.ready(9, float("inf"))
    here.carrier.before = lambda request: reply if request.url.path.endswith("/studies") else None
    for _ in range(3):
        here.run(failures=1)
    assert [(one.failures, one.line) for one in here.worklist.ready(9, float("inf"))] == [(row.failures, row.line)]
    assert caplog.messages[-1].endswith("give the address of DICOMweb as archive.address")


def test_an_archive_that_takes_nothing_twice_keeps_what_it_took_before_that_was_noted(clinic: Make):
    here = clinic(SyntheticStudy(1).datasets())

    def late(request: httpx.Request) -> None:
        if request.method == "POST":
            here.carrier._store(request)
            raise httpx.ReadTimeout("late", request=request)

    here.carrier.before = late  # type: ignore[assignment]
    assert here.run().worklist.counts()["answered"] == 1
    here.carrier.before = lambda request: httpx.Response(409) if request.method == "POST" else None
    assert here.run(failures=1).worklist.counts()["stored"] == 1


def test_a_study_that_is_always_late_ends_no_other(clinic: Make):
    late, other = SyntheticStudy(0), SyntheticStudy(1)
    here = clinic([*late.datasets(), *other.datasets()])
    predict, asked = here.endpoint.predict, 0

    async def slow(patient: Patient, request_id: str | None = None) -> Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise UserError("no answer within 120 s")
        await asyncio.sleep(0.1)
        return await predict(patient, request_id)

    here.endpoint.predict = slow  # type: ignore[method-assign]
    here.run(at_once=2)
    assert here.worklist.counts()["stored"] == 1


@pytest.mark.parametrize("status", [None, 504])
def test_a_study_that_is_late_while_others_are_answered_is_refused_in_the_end(clinic: Make, status: int | None):
    here = clinic([*SyntheticStudy(0).datasets(), *SyntheticStudy(1).datasets()])
    late = {one.SOPInstanceUID for one in SyntheticStudy(0).datasets()}

    def slow(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.split("/")[-1] not in late:
            return None
        if status is None:
            raise httpx.ReadTimeout("late", request=request)
        return httpx.Response(status)

    here.carrier.before = slow

    async def work() -> None:
        service = here.service(failures=2)
        for number in range(2, 5):  # each time another study comes, and is answered
            await service.run(asyncio.Event(), once=True)
            for dataset in SyntheticStudy(number).datasets():
                here.carrier.add(dataset)

    asyncio.run(work())
    assert [row.row for row in here.worklist.rows("refused")] == [1]
    assert here.refusals[0].endswith("(failed 2 times)")


def test_a_study_that_is_late_alone_is_no_fault_of_it(clinic: Make):
    here = clinic(SyntheticStudy(0).datasets())

    async def late(patient: Patient, request_id: str | None = None) -> Response:
        raise LateError("no answer within 120 s")

    here.endpoint.predict = late  # type: ignore[method-assign]

    async def work() -> None:
        service = here.service(failures=1)
        for _ in range(4):
            await service.run(asyncio.Event(), once=True)

    asyncio.run(work())
    assert here.worklist.counts() == {"asked": 1, "answered": 0, "stored": 0, "refused": 0}


@pytest.mark.parametrize("error", [RefusedError(500, "failed", None), RefusedError(422, "x", None), LateError("late")])
def test_an_explanation_that_fails_costs_the_maps_and_not_the_answer(clinic: Make, error: Exception):
    here = clinic(SyntheticStudy(1).datasets())

    async def explain(patient: Patient, request_id: str | None = None) -> Explanation:
        raise error

    here.endpoint.explain = explain  # type: ignore[method-assign]
    here.run(heat_maps=True)
    (report,) = here.carrier.datasets("SR")
    assert here.carrier.stored == [report.SOPInstanceUID]
    assert NO_MAPS in texts(report)


@pytest.mark.parametrize("error", [RefusedError(503, "no", None), RefusedError(429, "no", None), UserError("no JSON")])
def test_an_explanation_that_never_comes_is_waited_for_a_while_and_costs_no_other_its_maps(
    clinic: Make, error: Exception
):
    here = clinic([*SyntheticStudy(0).datasets(), *SyntheticStudy(1).datasets()])
    explain, asked = here.endpoint.explain, 0

    async def one_fails(patient: Patient, request_id: str | None = None) -> Explanation:
        nonlocal asked
        if request_id == document_uid(SyntheticStudy(0).uid, "toy", REPORT):
            asked += 1
            raise error
        return await explain(patient, request_id)

    here.endpoint.explain = one_fails  # type: ignore[method-assign]

    async def work() -> None:
        service = here.service(failures=3, heat_maps=True)
        for _ in range(4):
            await service.run(asyncio.Event(), once=True)

    asyncio.run(work())
    assert (here.worklist.counts()["stored"], asked) == (2, 3)
    without = {str(one.StudyInstanceUID) for one in here.carrier.datasets("SR") if NO_MAPS in texts(one)}
    assert without == {SyntheticStudy(0).uid}


def test_a_study_whose_instances_the_archive_does_not_count_must_settle_all_the_same(clinic: Make):
    first, *rest = SyntheticStudy(1).datasets()
    here = clinic([first])
    count_all = here.carrier._studies
    here.carrier._studies = lambda: [  # type: ignore[method-assign]
        {tag: value for tag, value in item.items() if tag != "00201208"} for item in count_all()
    ]
    here.run(settle_seconds=30)
    (row,) = here.worklist.rows("asked")
    here.worklist.grew(row, row.instances, row.changed - 60)  # half an upload, a minute ago
    for dataset in rest:
        here.carrier.add(dataset)
    here.worklist.put_off(row, 0)
    here.run(settle_seconds=30)
    (row,) = here.worklist.rows("asked")
    assert (here.endpoint.asked, row.instances) == ([], 3)


class Slow(FakeArchive):
    """Sends another instance in place of one, and all others a while later.

    Attributes:
        fetched: how many instances it was asked for.
    """

    fetched = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        first, other, *_ = self.files
        if "/series/" not in request.url.path:
            return await super().handle_async_request(request)
        self.fetched += 1
        if request.url.path.endswith(f"/{first}"):
            return self._file(other)
        await asyncio.sleep(0.02)
        return await super().handle_async_request(request)


def test_a_study_that_is_refused_is_fetched_no_further(tmp_path: Path):
    study = SyntheticStudy(1, slices=40)
    carrier = Slow(study.datasets())

    async def run() -> None:
        with pytest.raises(RequestError, match="another instance than the one asked for"):
            await fetch(Archive(ADDRESS, carrier=carrier), study.uid, study.patient, ["CT"], tmp_path)
        await asyncio.sleep(0.5)

    asyncio.run(run())
    assert carrier.fetched < 40
