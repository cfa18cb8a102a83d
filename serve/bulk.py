"""Many patients through a bundle, in parts that are there whole or not at all, so that a run goes on after a kill."""

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.files import replacing, write_text
from serve import manifest
from serve.asgi import worker
from serve.asgi.pool import Limits, Pool
from serve.client import to_request
from serve.host import Call, Reply
from serve.schema import BundleSchema

if TYPE_CHECKING:
    from foundation.data.cohort import Cohort

ANSWERS = "answers.jsonl"
PARTS = "parts"
_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_PATIENT, _REQUEST = "patient_id", "request"


@dataclass
class Patients:
    """Who is to be asked about.

    Attributes:
        ids: of the patients, in order.
        digest: of all that they are asked with.
        body: the request of a patient by its place, as JSON text.
    """

    ids: list[str]
    digest: str
    body: Callable[[int], bytes]


def of_cohort(cohort: "Cohort", schema: BundleSchema) -> Patients:
    """Those of a prepared cohort who have something that the bundle takes."""
    has = cohort.patients[[name for name in schema.modalities if name in cohort.patients]].astype(bool).any(axis=1)
    ids = [str(name) for name in cohort.patients.index[has]]
    return Patients(
        ids, cohort.digest, lambda place: json.dumps(to_request(cohort.sample(ids[place]), schema)).encode()
    )


def of_table(path: Path) -> Patients:
    """Those of a Parquet file: a row each, `patient_id` and `request`, which is JSON text as the endpoint takes it.

    Raises:
        UserError: if it is no such file, or names a patient twice.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=[_PATIENT, _REQUEST]).to_pydict()
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        what = "cannot be read" if path.exists() else "is not there"
        advice = f"give a prepared cohort's folder, or a Parquet file with the columns {_PATIENT} and {_REQUEST}"
        raise UserError(f"patients: {path}: {what}; {advice}") from error
    for row, name in enumerate(table[_PATIENT]):
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
            kind = "empty" if name is None or isinstance(name, str) else f"a {type(name).__name__}"
            raise UserError(f"patients: {path}: row {row}: {_PATIENT} is {kind}; give each patient a name or a number")
    ids, requests = [str(name) for name in table[_PATIENT]], table[_REQUEST]
    twice = [row for row, count in enumerate(Counter(ids)[name] for name in ids) if count > 1]
    if twice:
        raise UserError(f"patients: {path}: row {twice[0]}: {_PATIENT} stands there twice; give each patient one row")
    for row, request in enumerate(requests):
        if not isinstance(request, str):
            kind = "empty" if request is None else f"a {type(request).__name__}"
            raise UserError(f"patients: {path}: row {row}: {_REQUEST} is {kind}; give the request as JSON text")
    return Patients(ids, hashlib.sha256(path.read_bytes()).hexdigest(), lambda place: requests[place].encode())


def answer(bundle: Path, patients: Patients, output: Path, limits: Limits, part_size: int) -> Counter[str]:
    """Asks about all patients whose part is not there yet, and joins the parts to `answers.jsonl`.

    Args:
        bundle: of `serve.export`, verified.
        patients: to ask about.
        output: folder of the run.
        limits: of the worker processes.
        part_size: patients a part.

    Returns:
        How many were answered, refused by status, and abstained from.

    Raises:
        UserError: if no worker starts.
    """
    places = range(len(patients.ids))
    parts = {index: places[start : start + part_size] for index, start in enumerate(places[::part_size])}
    missing = {
        index: part
        for index, part in parts.items()
        if not _is_answered(_part(output, index), [patients.ids[place] for place in part])
    }
    if missing:
        pool = Pool(worker.command(bundle, manifest.seal(bundle)), limits)
        try:
            asyncio.run(_answer_parts(pool, patients, missing, output))
        except (EOFError, TimeoutError) as error:
            raise UserError(f"{bundle}: the model did not load; see above") from error
    counts: Counter[str] = Counter()
    with replacing(output / ANSWERS) as temporary, temporary.open("w") as stream:
        for line in (line for index in parts for line in _lines(_part(output, index))):
            stream.write(line)
            counts.update(_kinds(json.loads(line)))
    return counts


async def _answer_parts(pool: Pool, patients: Patients, parts: Mapping[int, Sequence[int]], output: Path) -> None:
    await pool.start()
    try:
        for done, (index, places) in enumerate(parts.items(), 1):
            calls = [Call(patients.body(place), {}, _request_id(patients.ids[place], place)) for place in places]
            replies = await asyncio.gather(*(pool.answer(call) for call in calls))
            lines = [_line(patients.ids[place], reply) for place, reply in zip(places, replies, strict=True)]
            write_text(_part(output, index), "".join(lines))
            print(f"part {done} of {len(parts)}", flush=True)
    finally:
        await pool.close()


def _request_id(patient: str, place: int) -> str:
    return patient if _ID.fullmatch(patient) else f"row-{place}"


def _line(patient: str, reply: Reply) -> str:
    """A patient's line: what the endpoint would send stands in it as it is."""
    name = "answer" if reply.status == HTTPStatus.OK else "problem"
    head = json.dumps({_PATIENT: patient, "status": int(reply.status)})
    return f'{head[:-1]}, "{name}": {reply.body.decode()}}}\n'


def _kinds(content: dict[str, Any]) -> list[str]:
    if "problem" in content:
        return ["refused", f"refused with {content['status']}"]
    abstained = (content["answer"]["reliability"] or {}).get("abstain", False)
    return ["answered", "abstained"] if abstained else ["answered"]


def _part(output: Path, index: int) -> Path:
    return output / PARTS / f"{index:06d}.jsonl"


def _is_answered(part: Path, ids: list[str]) -> bool:
    """Whether a part is there, of these patients, none of whom a fault kept from an answer that was not the request's.

    A damaged part, or one of others, is none: it is asked again.
    """
    try:
        rows = [json.loads(line) for line in _lines(part)]
        statuses = [row["status"] for row in rows if row[_PATIENT] and ("answer" in row or "problem" in row)]
        same = [row[_PATIENT] for row in rows] == ids
        return same and len(statuses) == len(ids) and all(s < HTTPStatus.INTERNAL_SERVER_ERROR for s in statuses)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _lines(path: Path) -> Iterator[str]:
    with path.open() as stream:
        yield from stream
