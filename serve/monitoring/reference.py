"""The bundle's own counts: its predictor asked about patients whom training held back, as use is compared with them."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from foundation.errors import UserError
from foundation.files import write_text
from serve import manifest
from serve.client import to_request
from serve.monitoring.usage import Usage
from serve.schema import Response

if TYPE_CHECKING:
    from foundation.data.cohort import Cohort
    from serve.predictor import Predictor

FILE = "reference.json"
MOST_PATIENTS = 200
_AT_ONCE = 8


def write(bundle: Path, predictor: "Predictor", cohort: "Cohort", patients: Sequence[str]) -> Usage:
    """Counts the predictor's answers about patients into `reference.json`.

    Args:
        bundle: folder to write into.
        predictor: of the bundle.
        cohort: that holds the patients.
        patients: not trained on; the first 200 count.
    """
    usage = Usage()
    for requests in _parts(predictor, cohort, patients[:MOST_PATIENTS]):
        for answer in predictor.answer(requests):
            if isinstance(answer, Response):  # others have nothing that the task may look at
                usage.add(200, answer.model_dump())
    write_text(bundle / FILE, usage.model_dump_json(indent=2) + "\n")
    return usage


def load(bundle: Path, seal: str | None = None) -> Usage | None:
    """The counts of a bundle; None where it was exported without.

    Args:
        bundle: folder.
        seal: of its manifest when it was verified; see `manifest.read_file`.

    Raises:
        UserError: if the file is none, or not as it was exported.
    """
    content = manifest.read_file(bundle, FILE, seal)
    try:
        return None if content is None else Usage.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{bundle / FILE}: no counts of this release; export the model again") from error


def _parts(predictor: "Predictor", cohort: "Cohort", patients: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    requests = (to_request(cohort.sample(patient), predictor.schema) for patient in patients)
    readable = (request for request in requests if request)
    while part := list(itertools.islice(readable, _AT_ONCE)):
        yield part
