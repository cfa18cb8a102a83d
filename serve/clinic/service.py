"""The service: looks for studies, has each answered once, and stores what was answered beside the images."""

import asyncio
import hashlib
import logging
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from foundation.modalities.request import RequestError
from serve.clinic.archive import Archive, ArchiveError, LateError, UnavailableError
from serve.clinic.contract import Contract
from serve.clinic.document import Answered, document_uid
from serve.clinic.endpoint import Connection, Endpoint
from serve.clinic.gathering import gathered
from serve.clinic.heat_map import heat_map_files
from serve.clinic.outgoing import check_outgoing
from serve.clinic.reading import StudyRequest, read_study
from serve.clinic.report import REPORT, report_file
from serve.clinic.settings import Settings
from serve.clinic.study import Study, check_patient, fetch
from serve.clinic.worklist import ANSWERED, Row, Worklist
from serve.conversation import RefusedError, encode
from serve.explained import Explanation
from serve.findings import abstains
from serve.schema import Response

_LOG = logging.getLogger("serve.clinic")
_AWAY = {
    *(HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS),
    *(HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE),
}
_LATE = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT}
_MOST = 64  # studies taken up between two looks


class Service:
    """Works through a worklist.

    Args:
        archive: with the studies.
        endpoint: gives one that answers now; asked anew after it was away.
        contract: gives what the release in use takes.
        worklist: of the model.
        folder: for files of studies while they are read; emptied first.
        settings: see there.
    """

    def __init__(
        self,
        archive: Archive,
        endpoint: Callable[[], Endpoint],
        contract: Callable[[], Contract],
        worklist: Worklist,
        folder: Path,
        settings: Settings,
    ) -> None:
        self._archive, self._worklist, self._settings = archive, worklist, settings
        self._connection, self._read_contract = Connection(endpoint), contract
        self._contract = contract()
        self._moved = 0  # studies that moved on
        self._late: dict[int, int] = {}  # by row, what that was when it was late last
        self._unexplained: Counter[int] = Counter()  # by row, how often it was answered and not explained
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)  # of a service that was killed: nothing of a patient stays
        folder.mkdir(parents=True, mode=0o700)

    async def run(self, stop: asyncio.Event, once: bool = False) -> UnavailableError | ArchiveError | None:
        """Works until it is told to stop; what it has begun is finished first.

        Args:
            stop: ends it.
            once: whether to end when nothing is left to do now.

        Returns:
            What kept it from all that there was to do, of `once`.
        """
        while not stop.is_set():
            missed: UnavailableError | ArchiveError | None = None
            try:
                # What was asked about comes first: a search of a large archive takes a while.
                while await self.work(stop) or await self.look():
                    if stop.is_set():
                        break
            except (UnavailableError, ArchiveError) as error:  # the latter of a search: no study is at fault
                missed = error
                _LOG.warning("%s", error)
                await self.close()
            if once:
                return missed
            try:
                await asyncio.wait_for(stop.wait(), self._settings.every_seconds)
            except TimeoutError:
                continue
        return None

    async def close(self) -> None:
        """Ends the connections to the endpoint; they are made anew where they are needed."""
        await self._connection.close()

    async def look(self) -> int:
        """Takes in what the archive has and the worklist has not; how many studies."""
        if self._settings.find is None:
            return 0
        known, new = self._worklist.known(), 0
        async for one in self._archive.studies(self._settings.find):
            if one.study not in known:  # noted as it comes, so that a kill costs no more than a page
                new += self._worklist.ask(one.study, one.patient, one.instances)
        return new

    async def work(self, stop: asyncio.Event) -> int:
        """Works on what is ready; how many studies moved on."""
        room = asyncio.Semaphore(self._settings.at_once)

        away: list[UnavailableError] = []

        async def one(row: Row) -> bool:
            async with room:
                if stop.is_set() or away:  # where archive or endpoint is away, the others need not try
                    return False
                try:
                    return await self._guarded(row)
                except UnavailableError as error:  # what is begun goes on: one always late would end others
                    away.append(error)
                    return False

        moved = sum(await gathered(one(row) for row in self._worklist.ready(_MOST, time.time())))
        if away:
            raise away[0]
        return moved

    async def _guarded(self, row: Row) -> bool:
        """Whether a study moved on; what fails of itself is put off, and refused in the end."""
        self._worklist.begin(row)
        step: Callable[[Row], Awaitable[bool]] = self._store if row.state == ANSWERED else self._answer
        try:
            moved = await step(row)
            self._moved += moved
            return moved
        except RequestError as error:
            return self._refuse(row, str(error))
        except RefusedError as error:
            if error.status in _LATE and self._others_moved(row):
                return self._put_off(row, str(error))
            if error.status in _AWAY | _LATE:
                raise UnavailableError(f"the endpoint is not ready ({error.status}); it is asked again") from error
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                return self._refuse(row, str(error))
            return self._put_off(row, str(error))
        except ArchiveError as error:
            return self._put_off(row, str(error))
        except LateError as error:
            if not self._others_moved(row):
                raise
            return self._put_off(row, str(error))
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one study that nobody foresaw must not keep the others waiting
            place = traceback.extract_tb(error.__traceback__)[-1]
            # An error's own words may hold a patient's values.
            _LOG.error("row %s: %s at %s:%s", row.row, type(error).__name__, place.filename, place.lineno)
            return self._put_off(row, "the service failed on it; tell its operator")

    def _others_moved(self, row: Row) -> bool:
        """Whether archive and endpoint served other studies since this one was late before: then it is at fault."""
        before, self._late[row.row] = self._late.get(row.row), self._moved
        return before is not None and before < self._moved

    async def _answer(self, row: Row) -> bool:
        """From asked to answered, and on to stored."""
        model = self._contract.schema.name
        report = document_uid(row.study, model, REPORT)
        if not await self._settled(row):
            return False
        if await self._archive.instances(row.study, report):  # a list that was lost: it was answered all the same
            self._worklist.stored(row, "the archive has the report already")
            return True
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            study = await fetch(self._archive, row.study, row.patient, self._settings.modalities, Path(folder))
            asked = await asyncio.to_thread(read_study, study, self._contract.schema, self._settings.source)
        body = encode(asked.request)
        response = await self._ask(body, report)
        warnings = [*asked.warnings, *response.warnings]
        try:
            explanation = await self._explain(body, report, asked, response)
        except (RefusedError, UnavailableError) as error:  # an answer does not hang on what is drawn of it
            if self._explained_later(row, error):
                return False
            _LOG.warning("row %s: without heat maps: %s", row.row, error)
            warnings.append("no heat maps: the endpoint did not say what the answer goes by")
            explanation = None
        response = response.model_copy(update={"warnings": warnings})
        now = datetime.now(UTC)
        answered = Answered(row.study, response, hashlib.sha256(body).hexdigest(), now)
        outputs = await asyncio.to_thread(_outputs, answered, study, asked, explanation, report)
        self._worklist.answered(row, {"time": now.isoformat(), **response.model_dump()}, outputs)
        return await self._store(row)

    async def _settled(self, row: Row) -> bool:
        """Whether the study is still whose it was asked about as, and has not grown of late."""
        patients, count = await self._archive.patients(row.study)
        if not patients:
            raise ArchiveError("the archive has no such study; ask again when it has")
        check_patient(row.patient, patients)
        now = time.time()
        if count != row.instances:
            self._worklist.grew(row, count, now)
        changed = now if count != row.instances else row.changed
        if changed + self._settings.settle_seconds <= now:
            return True
        self._worklist.put_off(row, changed + self._settings.settle_seconds)
        return False

    async def _ask(self, body: bytes, request_id: str) -> Response:
        """The answer, by the contract that the request was made by, to this request and no other."""
        response = await self._connection.call(lambda endpoint: endpoint.predict(body, request_id))
        if response.digests.contract != self._contract.digest:
            self._contract = self._read_contract()
            raise UnavailableError("the endpoint serves another release than bundle=...; its contract is read again")
        if response.request_id != request_id:
            raise ArchiveError("the endpoint answered another request than the one that was sent")
        return response

    async def _explain(self, body: bytes, request_id: str, asked: StudyRequest, answer: Response) -> Explanation | None:
        # What a map is drawn for is the outcome that the model would name, which an abstention withholds.
        if not self._settings.heat_maps or not asked.slices or abstains(answer):
            return None
        explanation = await self._connection.call(lambda endpoint: endpoint.explain(body, request_id))
        if explanation.request_id != request_id or explanation.version != answer.version:
            raise UnavailableError("the endpoint went on to another release between answer and explanation; once more")
        return explanation

    def _explained_later(self, row: Row, error: RefusedError | UnavailableError) -> bool:
        """Whether a study waits for its maps: while the endpoint may well be away, and not for ever.

        Raises:
            UnavailableError: likewise, where nobody answered.
        """
        away = error.status in _AWAY if isinstance(error, RefusedError) else not isinstance(error, LateError)
        self._unexplained[row.row] += 1
        if not away or self._unexplained[row.row] >= self._settings.failures:
            del self._unexplained[row.row]
            return False
        if isinstance(error, UnavailableError):
            raise error
        self._wait(row, self._unexplained[row.row] - 1, f"answered, and not explained yet: {error}")
        return True

    async def _store(self, row: Row) -> bool:
        """From answered to stored, which is noted when the archive shows all of it under this study and patient."""
        outputs = self._worklist.outputs(row)
        check_outgoing(outputs, row.study, row.patient)
        patients, _ = await self._archive.patients(row.study)
        check_patient(row.patient, patients)
        # Who was killed before noting finds some there already, which many archives refuse to take again.
        missing = [one for uid, one in outputs.items() if not await self._archive.instances(row.study, uid)]
        if missing:
            await self._archive.store(row.study, missing)
        for uid in outputs:
            if {one.patient for one in await self._archive.instances(row.study, uid)} != {row.patient}:
                raise ArchiveError("a stored document is not in the study, or under another patient")
        self._worklist.stored(self._worklist.row(row.row))
        return True

    def _refuse(self, row: Row, line: str) -> bool:
        _LOG.warning("row %s: refused: %s", row.row, line)
        self._worklist.refused(self._worklist.row(row.row), line)
        return True

    def _put_off(self, row: Row, line: str) -> bool:
        row = self._worklist.row(row.row)
        if row.failures + 1 >= self._settings.failures:
            return self._refuse(row, f"{line} (failed {row.failures + 1} times)")
        self._wait(row, row.failures, line, failed=True)
        return False

    def _wait(self, row: Row, times: int, line: str, failed: bool = False) -> None:
        """Puts a study off, the longer the oftener that was done."""
        _LOG.warning("row %s: put off: %s", row.row, line)
        self._worklist.put_off(row, time.time() + self._settings.every_seconds * 2**times, line, failed)


def _outputs(
    answered: Answered, study: Study, asked: StudyRequest, explanation: Explanation | None, report: str
) -> dict[str, bytes]:
    """What goes to the archive by SOPInstanceUID; the report last, so that where it is, all is."""
    maps = {} if explanation is None else heat_map_files(answered, explanation, asked.slices)
    shown = list({str(one.header.SOPInstanceUID): one.header for one in asked.slices.values()}.values())
    return {**maps, report: report_file(answered, study.headers, shown)}
