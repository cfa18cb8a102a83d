"""A service before an archive in this process and an endpoint that answers by the request alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.clinic.archive import Archive
from serve.clinic.contract import Contract
from serve.clinic.service import Service
from serve.clinic.settings import Settings
from serve.clinic.worklist import Worklist
from tests.serve.clinic.fake_archive import FakeArchive
from tests.serve.clinic.stub_endpoint import StubEndpoint, contract

ADDRESS = "http://127.0.0.1:1/dicom-web"


class Clinic:
    """All that a test looks at."""

    def __init__(self, folder: Path, carrier: FakeArchive) -> None:
        self.folder, self.carrier = folder, carrier
        self.endpoint = StubEndpoint()
        self.contract: Callable[[], Contract] = contract
        self.worklist = Worklist(folder / "worklist.sqlite", "toy")

    def service(self, **settings: Any) -> Service:
        """A service from its start."""
        facts = {"find": {}, "settle_seconds": 0, "every_seconds": 0, "heat_maps": False, **settings}
        archive, incoming = Archive(ADDRESS, carrier=self.carrier), self.folder / "incoming"
        return Service(archive, lambda: self.endpoint, self.contract, self.worklist, incoming, Settings(**facts))

    def run(self, **settings: Any) -> "Clinic":
        """A service from its start to when nothing is left to do now."""

        async def once() -> None:
            await self.service(**settings).run(asyncio.Event(), once=True)
            assert list((self.folder / "incoming").iterdir()) == [], "nothing of a patient stays"

        asyncio.run(once())
        return self

    def restart(self) -> "Clinic":
        """The worklist as a new process finds it."""
        self.worklist.close()
        self.worklist = Worklist(self.folder / "worklist.sqlite", "toy")
        return self

    @property
    def refusals(self) -> list[str]:
        return [row.line for row in self.worklist.rows("refused")]


@pytest.fixture
def clinic(tmp_path: Path) -> Callable[..., Clinic]:
    return lambda datasets=(): Clinic(tmp_path, FakeArchive(datasets))
