"""Who is behind a run, as its own folder or a hospital's keeps it: ids, and digests of those who have withdrawn since.

Whoever withdraws leaves such a list by name. What stays is a digest of the id: nobody is named, but who holds the list
and an id can tell whether its patient stood there. So runs that learned from somebody are still told, whoever returns
is still no test patient of theirs, and counts as new nowhere. The list's digest, which a run record keeps, is over
these digests of all: it is the same before and after, and a list that was changed otherwise is told by it.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.run_record import digest_of

WITHDRAWN = "withdrawn"  # key in a file, of digests by part
_PARTS = ("train", "validation")


def digest_of_id(patient: str) -> str:
    """128 bits of BLAKE2b (RFC 7693) over an id."""
    return hashlib.blake2b(patient.encode(), digest_size=16, person=b"consilium list").hexdigest()


def digests_of_ids(patients: Iterable[str]) -> frozenset[str]:
    """Of each."""
    return frozenset(map(digest_of_id, patients))


def blinded(content: dict[str, Any], parts: Iterable[str], present: Collection[str]) -> dict[str, Any]:
    """The content of a file that lists patients by part, with digests for the ids of those who are not present."""
    changed, left = dict(content), dict(content.get(WITHDRAWN, {}))
    for part in parts:
        gone = [one for one in content[part] if one not in present]
        changed[part] = [one for one in content[part] if one in present]
        left[part] = sorted({*left.get(part, []), *digests_of_ids(gone)})
    return changed | {WITHDRAWN: left}


@dataclass(frozen=True)
class PatientList:
    """Patients of a run.

    Attributes:
        patients: by name.
        withdrawn: digests of the ids of those who have left since.
        digest: of the list, whoever of it has left.
    """

    patients: frozenset[str]
    withdrawn: frozenset[str]
    digest: str

    @classmethod
    def read(cls, path: Path, advice: str) -> "PatientList":
        """Of a file.

        Raises:
            UserError: if it is gone, or no such list.
        """
        content = read_json(path, advice, *_PARTS, "hospitals")
        withdrawn = content.get(WITHDRAWN, {})
        lists = [*(content[part] for part in _PARTS), *(withdrawn.values() if isinstance(withdrawn, dict) else [None])]
        if not all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in lists):
            raise UserError(f"{path}: {', '.join(_PARTS)} or {WITHDRAWN} hold no lists of ids; {advice}")
        left = frozenset(one for part in _PARTS for one in withdrawn.get(part, []))
        return cls(frozenset(one for part in _PARTS for one in content[part]), left, _digest(content))

    @property
    def digests(self) -> frozenset[str]:
        """Of all their ids, those of who has left among them."""
        return digests_of_ids(self.patients) | self.withdrawn


def write_patients(path: Path, train: Collection[str], validation: Collection[str], hospitals: Collection[str]) -> str:
    """Writes the ids of those who train a run, and of those on whom it is validated; the digest of the list."""
    content = {"train": sorted(train), "validation": sorted(validation), "hospitals": sorted(set(hospitals))}
    write_json(path, content)
    return _digest(content)


def blind_list(path: Path, present: Collection[str], advice: str) -> None:
    """Changes in a file the names of those who are not present for digests.

    Raises:
        UserError: if it is no such list.
    """
    PatientList.read(path, advice)
    write_json(path, blinded(read_json(path, advice), _PARTS, present))


def _digest(content: dict[str, Any]) -> str:
    left = content.get(WITHDRAWN, {})
    parts = {part: sorted({*digests_of_ids(content[part]), *left.get(part, [])}) for part in _PARTS}
    return digest_of({**parts, "hospitals": content["hospitals"]})
