"""Checks of the images of all hospitals: every file opened once, and pictures that patients share."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from rich.progress import Progress

from foundation.data.image_looks import PICTURES, Look
from foundation.data.image_pairs import shared_pictures
from foundation.data.image_source import ImageSource
from foundation.data.problems import Problems
from foundation.data.site import Site

Looking = Callable[[list[Look], ImageSource], Iterator[Look]]
_ADVICE = "look at both: one of the two may be filed under the wrong patient"


def check(modality: str, look: Looking, sites: list[Site], problems: Problems, bars: Progress) -> None:
    """Opens every image of one modality and compares all across patients and hospitals.

    Errors: files that cannot be read, that say nothing of their resolution or show text, one file of two patients,
    images beside features, features of several extractors. Warnings: near-identical images of two patients, a patient's
    file that stands there twice, tags and pictures inside files that can show who the patient is.

    Args:
        modality: whose images.
        look: opens files, as declared.
        sites: with their images listed.
        problems: takes the findings.
        bars: shows how far it got.
    """
    looks = [
        each for site in sites if modality in site.sources for each in _opened(site, modality, look, problems, bars)
    ]
    whole = [each for each in looks if each.content]
    _forms(whole, problems)
    _dimensions(whole, problems)
    _near_identical(_one_each(whole, problems), problems)


def _opened(site: Site, modality: str, look: Looking, problems: Problems, bars: Progress) -> list[Look]:
    listed = site.tables[modality]
    rows = zip(listed.index, listed["path"], listed["kind"], strict=True)
    looks = [Look(site.name, str(patient), Path(path), kind) for patient, path, kind in rows]
    task = bars.add_task(f"Opening {modality} of {site.name}", total=len(looks))
    for _ in look(looks, site.sources[modality]):
        bars.advance(task)
    bars.remove_task(task)
    for each in looks:
        problems.listed += each.problems
    _carried(looks, site.files[modality], problems)
    return looks


def _carried(looks: list[Look], file: Path, problems: Problems) -> None:
    """One line a kind of file, for most hospitals' files all carry the same."""
    telling = sorted((look for look in looks if look.carries), key=lambda look: look.kind)
    for kind, same in groupby(telling, key=lambda look: look.kind):
        several = list(same)
        names = sorted({name for look in several for name in look.carries})
        listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        finding = f"{len(several)} of kind {kind} carry {several[0].parts} that can show who the patient is"
        problems.warn(file, finding, "nothing to do: packing drops them", field=listed)


def _forms(looks: list[Look], problems: Problems) -> None:
    """A hospital's files of one modality are packed as one array."""
    for _, of_hospital in groupby(looks, key=lambda look: look.hospital):
        first, *others = of_hospital
        for look in others:
            if look.form != first.form:
                advice = "give all of a hospital's files as images, or all as features of one type"
                problems.error(look.path, f"{look.form}, {first.path.name} is {first.form}", advice, field="kind")


def _dimensions(looks: list[Look], problems: Problems) -> None:
    features = [look for look in looks if look.form != PICTURES]
    if not features:
        return
    common = Counter(look.size for look in features).most_common(1)[0][0]
    for look in features:
        if look.size != common:
            advice = "use one feature extractor for the whole cohort"
            problems.error(look.path, f"{look.size}, other files have {common}", advice, field="features")


def _one_each(looks: list[Look], problems: Problems) -> list[Look]:
    """Files of different content; of those that are the same to the byte the first, with the others noted."""
    by_content = defaultdict(list)
    for look in looks:
        by_content[look.content].append(look)
    for same in by_content.values():
        first = same[0]
        for look in same[1:]:
            if _owner(look) == _owner(first):
                finding = f"the same file as {first.path.name}, of the same patient {look.patient}"
                problems.warn(look.path, finding, "keep one of the two", field="file")
            else:
                finding = f"patient {look.patient}: the same file as patient {first.patient}'s {_named(first, look)}"
                problems.error(look.path, finding, _ADVICE, field="file")
    return [same[0] for same in by_content.values()]


def _near_identical(looks: list[Look], problems: Problems) -> None:
    """A line for each two patients, whatever number of pictures they share."""
    _, owners = np.unique([f"{look.hospital}/{look.patient}" for look in looks], return_inverse=True)
    between = defaultdict(list)
    for pair in shared_pictures([look.prints for look in looks], owners):
        between[owners[pair[0]], owners[pair[1]]].append(pair)
    for pairs in between.values():
        one, other, shared, possible = pairs[0]
        first, look = looks[one], looks[other]
        of = f" ({shared} of {possible} slices)" if possible > 1 else ""
        more = f", and {len(pairs) - 1} files more" if len(pairs) > 1 else ""
        finding = (
            f"patient {look.patient}: almost the picture of patient {first.patient}, {_named(first, look)}{of}{more}"
        )
        problems.warn(look.path, finding, _ADVICE, field="file")


def _owner(look: Look) -> tuple[str, str]:
    return look.hospital, look.patient


def _named(other: Look, look: Look) -> str:
    """The other file as a data manager finds it: by its hospital, where that is another."""
    return other.path.name if other.hospital == look.hospital else f"{other.path.name} at {other.hospital}"
