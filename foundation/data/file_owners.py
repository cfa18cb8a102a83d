"""Whose files are: by a declared pattern, by labels such as BIDS's `sub-`, by folders, by ids in names.

A file that could be two patients' is nobody's: it is refused by name.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from foundation.data.problems import Problems, refuse
from foundation.data.strict import with_group

_EDGE = re.compile(r"[^A-Za-z0-9]")
# What follows such a word is the patient's, as in sub-01, patient_3 or subject012; `sub` alone begins other words, too.
_LABEL = re.compile(
    r"(?:^|[^A-Za-z0-9])(?P<word>sub-|(?:subject|subj|participant|patient|pat|pid|mrn)[-_ ]*)"
    r"(?=(?P<value>[A-Za-z0-9]+))",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"[A-Za-z]{0,3}\d[A-Za-z0-9]*")  # the value of a label, known or not, rather than the next word
# What BIDS (1.9, appendix on entities) says of a file besides its subject: never a patient.
_ENTITY = re.compile(
    r"(?:^|_)(?:ses|sample|task|tracksys|acq|ce|trc|stain|rec|dir|run|mod|echo|flip|inv|mt|part|proc|hemi|space|split"
    r"|recording|chunk|seg|res|den|label|desc)-(?P<value>[A-Za-z0-9]+)"
)
ADVICE = "name one of them in the file's name, declare key_pattern under sources, or list the files in a table"
_NOBODY = "put the patient's id into the file's name"


class FileOwners:
    """The patients of files, by name.

    Args:
        patients: all ids.
        names: of all files, relative to the hospital's folder: whether a folder or a file's name holds the patient can
            only be told from several.
        pattern: regular expression whose group (or whole match) is the patient; nothing else counts where it is given.
        advice: what to do about a file that names two patients.
        leave_out: whether files that name no patient are left out rather than refused.

    Attributes:
        numbered: files whose folder decided against a number in their name.
        strangers: files left out.
    """

    def __init__(
        self,
        patients: Iterable[str],
        names: Iterable[Path],
        pattern: str | None = None,
        advice: str = ADVICE,
        leave_out: bool = False,
    ) -> None:
        self._known = set(patients)
        self._pattern = None if pattern is None else re.compile(with_group(pattern))
        self._advice = advice
        self._folders = self._of_their_own(names)
        self._leave_out = leave_out
        self.numbered: list[Path] = []
        self.strangers: list[Path] = []

    def of(self, path: Path, name: Path) -> str | None:
        """The patient of one file, or of a folder; None where it is left out.

        Args:
            path: for messages.
            name: relative to the hospital's folder.

        Raises:
            DataError: if it names nobody, or several patients.
        """
        if self._pattern is not None:
            return self._matched(path, name)
        labelled = {owner for part in name.parts for owner in _labelled(part, self._known)}
        ids = labelled or {owner for part in name.parts for owner in _ids(part, self._known)}
        if len(ids) == 1 and ids <= self._known:
            return ids.pop()
        if not ids & self._known and self._leave_out:
            self.strangers.append(name)
            return None
        if not ids & self._known:
            raise refuse(path, "names no patient of the patients' table", self._prefixed(name) or _NOBODY)
        if not labelled:
            owner = self._leading(name) or self._by_folder(name)
            if owner is not None:
                return owner
        several = " and ".join(sorted(ids))
        raise refuse(path, f"names two patients, {several}", self._advice, field="patient_id")

    def note_strangers(self, place: Path, problems: Problems) -> None:
        """Says how many files were left out, where any were."""
        if self.strangers:
            finding = f"{len(self.strangers)} files that name no patient are left out, such as {self.strangers[0]}"
            problems.warn(place, finding, "nothing to do, unless a patient's id is written otherwise there")
            problems.tell(place, "files left out that name no patient", len(self.strangers))

    def names_one(self, folder: Path) -> bool:
        """Whether a folder, relative to the hospital's, names a patient: all files in it are one's."""
        return any(_labelled(part, self._known) or _ids(part, self._known) for part in folder.parts)

    def _matched(self, path: Path, name: Path) -> str | None:
        assert self._pattern is not None
        match = self._pattern.search(name.as_posix())
        if self._leave_out and (not match or match.group(1) not in self._known):
            self.strangers.append(name)
            return None
        if not match or not match.group(1):
            finding = f"key_pattern {self._pattern.pattern} does not match"
            raise refuse(path, finding, "mend the name or the pattern", field="key_pattern", value=name)
        return match.group(1)

    def _prefixed(self, name: Path) -> str | None:
        """Advice for names such as `p10000032`, where a known id stands behind letters."""
        for part in name.parts:
            match = re.match(r"([A-Za-z]+)([0-9]+)(?![0-9])", part)
            if match is not None and match[2] in self._known:
                return f"say key_pattern: '(?:^|/){match[1]}([0-9]{{{len(match[2])}}})' if patient {match[2]} is meant"
        return None

    def _leading(self, name: Path) -> str | None:
        """The id with which each of several parts that hold ids begins, as in `P1/P1_slice_2.png`."""
        first = [_first(part, self._known) for part in name.parts if _ids(part, self._known)]
        return first[0] if len(first) > 1 and len(set(first)) == 1 else None

    def _by_folder(self, name: Path) -> str | None:
        """The patient whose own folder it lies in, if what else it names are mere numbers, of slices or blocks."""
        owners = {folder.name for folder in name.parents if folder in self._folders}
        others = {other for part in name.parts for other in _ids(part, self._known)} - owners
        if len(owners) != 1 or not all(other.isdigit() for other in others):
            return None
        self.numbered.append(name)
        return owners.pop()

    def _of_their_own(self, names: Iterable[Path]) -> set[Path]:
        """Folders called as a patient that hold files of the same names as another patient's beside them.

        So these names are no patients'. In a folder called by a class or a centre, 1 or 2, each name stands once.
        """
        beside: dict[tuple[Path, Path], set[Path]] = defaultdict(set)
        for name in names:
            for folder in name.parents:
                if folder.name in self._known:
                    beside[folder.parent, name.relative_to(folder)].add(folder)
        return {folder for folders in beside.values() if len(folders) > 1 for folder in folders}


def _ends(part: str) -> list[int]:
    return [*(match.start() for match in _EDGE.finditer(part)), len(part)]


def _first(part: str, known: set[str]) -> str | None:
    """The id with which one part of a path begins; the longest."""
    return max({part[:end] for end in _ends(part)} & known, key=len, default=None)


def _ids(part: str, known: set[str]) -> set[str]:
    """Ids in one part of a path; the longest where one holds another."""
    starts = [0, *(match.end() for match in _EDGE.finditer(part))]
    ends = _ends(part)
    entities = [match.span("value") for match in _ENTITY.finditer(part)]
    spans = {(start, end) for start in starts for end in ends if start < end and part[start:end] in known}
    spans = {span for span in spans if not any(_within(span, entity) for entity in entities)}
    return {part[slice(*span)] for span in spans if not any(_within(span, wider) for wider in spans - {span})}


def _within(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] <= span[0] and span[1] <= other[1]


def _labelled(part: str, known: set[str]) -> set[str]:
    """What labels name: ids, or words that are none but stand where one should."""
    labelled = set()
    for match in _LABEL.finditer(part):
        starts = (match.start("word"), match.start("value"))
        ids = {part[start:end] for start in starts for end in _ends(part) if end > starts[1]} & known
        if ids:
            labelled.add(max(ids, key=lambda owner: (len(owner), owner)))
        elif match["word"].lower() == "sub-" or _NUMBERED.fullmatch(match["value"]):
            labelled.add(match["value"])
    return labelled
