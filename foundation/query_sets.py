"""The sets of patients behind a hospital's answers, as its state folder keeps them, one file a set under its digest.

Who withdraws leaves them: the name becomes a blind id, 128 random bits that nobody can follow back, in all sets of the
folder the same one. What is held against such sets asks who is in the same ones, and a name that is changed for another
everywhere changes none of it: sizes, differences and ranks stay what they were, and a question about the same patients
less those who withdrew is told from the earlier one as before. What is lost is the link to the name: who withdraws,
returns under the same id and is asked about anew looks like somebody else, whom a difference would count twice, as one
who left and one who came. Blind ids are therefore kept apart from names, and `foundation.federation.site.queries`
takes them for whoever would make an answer tell most. The file's name, and the ledger, keep the digest of the set as it
was: a hash of all names together, from which none can be read.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json, write_json

FOLDER = "asked"
_ADVICE = "remove it only together with this site's ledger"


@dataclass(frozen=True)
class QuerySet:
    """Whom an answer was about.

    Attributes:
        patients: by name.
        withdrawn: blind ids, one for each patient who has withdrawn since.
    """

    patients: frozenset[str]
    withdrawn: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path) -> "QuerySet":
        """Of a file.

        Raises:
            UserError: if it is none.
        """
        content = read_json(path, _ADVICE, "patients")
        parts = [content["patients"], content.get("withdrawn", [])]
        if not all(isinstance(part, list) and all(isinstance(one, str) for one in part) for part in parts):
            raise UserError(f"{path}: 'patients' and 'withdrawn' are not lists of ids; {_ADVICE}")
        return cls(frozenset(parts[0]), frozenset(parts[1]))

    def write(self, path: Path) -> None:
        """To a file, whole or not at all."""
        withdrawn = {"withdrawn": sorted(self.withdrawn)} if self.withdrawn else {}
        write_json(path, {"patients": sorted(self.patients), **withdrawn})


def blind(folder: Path, present: Collection[str]) -> list[Path]:
    """Changes the name of everybody who is not present for a blind id, in all sets of a folder; the files changed.

    Where a process is killed between two files, the next one gives the rest other blind ids: one patient by two of
    them, in sets apart, is what those who ask of the sets are ready for.

    Raises:
        UserError: if a file is no set; none is changed then.
    """
    sets = {path: QuerySet.read(path) for path in sorted(folder.glob("*.json"))}
    still = frozenset(present)
    ids = {name: secrets.token_hex(16) for one in sets.values() for name in one.patients - still}
    changed = {path: one for path, one in sets.items() if one.patients - still}
    for path, one in changed.items():
        QuerySet(one.patients & still, one.withdrawn | {ids[name] for name in one.patients - still}).write(path)
    return list(changed)
