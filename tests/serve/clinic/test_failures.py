"""An archive or an endpoint that fails at some: what that costs the others, and what is done of it twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from foundation.errors import UserError
from foundation.modalities.request import RequestError
from serve.clinic.archive import Archive
from serve.clinic.study import fetch
from serve.conversation import Patient
from serve.schema import Response
from tests.serve.clinic.conftest import ADDRESS, Clinic
from tests.serve.clinic.fake_archive import FakeArchive
from tests.serve.clinic.studies import SyntheticStudy

Make = Callable[..., Clinic]


@pytest.mark.parametrize("status", [408, 502, 504])
def test_a_proxy_whose_archive_restarts_costs_no_study_anything(clinic: Make, status: int):
    here = clinic(SyntheticStudy(1).datasets())
    here.carrier.before = lambda request: httpx.Response(status) if "/series/" in request.url.path else None
    for _ in range(3):
        here.run(failures=1)
    assert here.worklist.counts() == {"asked": 1, "answered": 0, "stored": 0, "refused": 0}


def test_a_service_outlives_a_search_that_fails(clinic: Make):
    here = clinic(SyntheticStudy(1).datasets())
    here.carrier.before = lambda request: httpx.Response(500)
    here.run()
    here.carrier.before = lambda request: None
    assert here.run().worklist.counts()["stored"] == 1


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
