"""The preparation of a cohort that was prepared before: what is new, changed or withdrawn, and nothing else."""

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import Progress

from foundation.data import patient_checks
from foundation.data.declaration import Declaration, HospitalColumn
from foundation.data.dictionary import DataDictionary
from foundation.data.extraction.substitute import substitute_features
from foundation.data.growth.change import Fresh, changed_images, fresh_of, image_prints, parts_to_read
from foundation.data.growth.earlier import Earlier, Growth
from foundation.data.growth.sources import PATIENTS, FolderSources, Names, look, strangers
from foundation.data.growth.state import EVERYBODY, Prints, frame_of
from foundation.data.preparation import preparations
from foundation.data.problems import Problems
from foundation.data.reading import folders_of, read_sites, read_withdrawn
from foundation.data.site import Site
from foundation.data.validation import check_site, validate
from foundation.errors import UserError

WITHDRAWN = "withdrawn"  # among the prints: who withdrew by the declaration's file


class Survey:
    """Comparison of a cohort's folders with what was prepared from them.

    Args:
        root: the cohort's folder.
        declaration: of it.
        earlier: as prepared before; None for the first preparation, of which digests alone are wanted.
        names: of patients, as packed.
    """

    def __init__(self, root: Path, declaration: Declaration, earlier: Earlier | None, names: Names) -> None:
        self.root, self.declaration, self.earlier, self.names = root, declaration, earlier, names
        self.before: Prints = {} if earlier is None else earlier.state.prints
        self.withdrawn = set(names(sorted(read_withdrawn(root, declaration))))
        self.folders = {
            name: look(name, folder, declaration, self.before, names, self._settled())
            for name, folder in folders_of(root, declaration).items()
            if folder.is_dir()
        }
        for one in self.folders.values():
            one.changed = {name: index[~index.isin(self.withdrawn)] for name, index in one.changed.items()}

    def _settled(self) -> bool:
        """Whether the same patients had withdrawn before."""
        before = self.before.get(("", WITHDRAWN))
        return before is not None and int(before.at[EVERYBODY, "digest"]) == hash_of(self.withdrawn)

    def prints(self, sites: Collection[Site]) -> Prints:
        """Digests of all sources, images of `sites` among them."""
        each: Prints = {
            (one.name, field): frame[~frame.index.isin(self.withdrawn)] if self.withdrawn else frame
            for one in self.folders.values()
            for field, frame in one.prints.items()
        }
        for site in sites:
            ids = site.patients.index.tolist()
            each |= image_prints(site, dict(zip(ids, self.names(ids), strict=True)), self.before)
        each["", WITHDRAWN] = frame_of({EVERYBODY: hash_of(self.withdrawn)})
        return each

    def growth(self, features: Path | None, bars: Progress) -> Growth | None:
        """What is to be packed anew; None where nothing changed.

        Raises:
            DataError: on the first error in what changed, as a validation of the whole cohort names it.
            UserError: if what changed asks for another data dictionary.
        """
        assert self.earlier is not None
        dated = self.declaration.landmark is not None
        with scratch_beside(self.earlier.folder) as scratch:
            fresh = {name: fresh_of(one, self.before, self._new(one), dated) for name, one in self.folders.items()}
            parts = self._parts(fresh, scratch)
            whole = self._must_read_whole()
            problems = Problems()
            sites = [] if whole else read_sites(self.root, self.declaration, problems, bars, parts)
        whole = whole or _not_by_itself(problems)
        if not whole:
            whole = self._check(sites, fresh, problems, bars)
        if whole:
            problems, sites = self._read_whole()
        dictionary = self.declaration.dictionary
        if features is not None:
            dictionary = substitute_features(sites, features, dictionary, problems)
            problems.refuse_first()
        members = self._members(sites)
        prints = self.prints(sites)
        of_hospital = {name: self._fresh_at(name, fresh, members[name], prints) for name in members}
        growth = Growth({}, members, of_hospital, prints, dictionary, problems, whole)
        growth.dictionary = self._dictionary(growth, sites)
        if not any(growth.counts(self.earlier).values()) and members.keys() == self.earlier.tables.keys():
            return None
        growth.sites = {site.name: site for site in sites}
        return growth

    def _new(self, sources: FolderSources) -> list[str]:
        """Those in a folder's patients' table whom the prepared cohort lacks."""
        assert self.earlier is not None
        each = [self.earlier.hospital_of(sources.name)]
        if isinstance(self.declaration.hospitals, HospitalColumn):
            each = list(self.earlier.tables.values())
        here = sources.everybody
        new = here[np.logical_and.reduce([table.index.get_indexer(here) < 0 for table in each])]
        return [one for one in new if one not in self.withdrawn]

    def _parts(self, fresh: Mapping[str, Mapping[str, Fresh]], scratch: Path) -> dict[str, dict[str, Any]]:
        hospitals = self.declaration.hospitals
        one_folder = isinstance(hospitals, HospitalColumn)
        other = not self._settled()
        parts = {}
        for name, sources in self.folders.items():
            part = parts_to_read(sources, fresh[name], hospitals, self.names, scratch)
            if part is None and other and (one_folder or PATIENTS not in sources.cut):
                part = {}
            if part is not None:
                parts[name] = {} if one_folder else part  # where hospitals are pooled, one more patient moves others
        return parts

    def _must_read_whole(self) -> str | None:
        """Why parts of tables cannot tell whether the cohort is in order; None where they can."""
        if self.folders.keys() != folders_of(self.root, self.declaration).keys():
            return "a hospital has no folder"
        if self.declaration.unknown_patients == "error" and any(
            strangers(one, self.withdrawn) for one in self.folders.values()
        ):
            return "a table has rows of patients whom the patients' table lacks"
        everybody = [one.everybody for one in self.folders.values()]
        if everybody and not everybody[0].append(everybody[1:]).is_unique:
            return "a patient stands at two hospitals"
        return None

    def _check(
        self, sites: list[Site], fresh: Mapping[str, Mapping[str, Fresh]], problems: Problems, bars: Progress
    ) -> str | None:
        """Checks what changed by itself; why that is not enough, or None."""
        checked = []
        for site in sites:
            names = dict(zip(self.names(site.patients.index.tolist()), site.patients.index, strict=True))
            each = fresh.get(site.name, fresh.get(self.root.name, {}))
            asked = set().union(*(one.of(names) for one in each.values()))
            if asked:
                checked.append(site.only(pd.Index([names[one] for one in asked])))
        for site in checked:
            check_site(site, self.declaration, problems)
        patient_checks.check_across(checked, problems)
        for preparation in preparations().values():
            preparation.check_together(checked, self.declaration, problems, bars, images=False)
        return _not_by_itself(problems)

    def _read_whole(self) -> tuple[Problems, list[Site]]:
        validation = validate(self.root, self.declaration, images=False, progress=False)
        validation.problems.refuse_first()
        return validation.problems, validation.sites

    def _members(self, sites: Collection[Site]) -> dict[str, list[str]]:
        """All patients of each hospital, as packed, in order."""
        read = {site.name: self.names(site.patients.index.tolist()) for site in sites}
        if isinstance(self.declaration.hospitals, HospitalColumn):
            assert self.earlier is not None
            return {name: sorted(names) for name, names in read.items()} or {
                name: list(table.index) for name, table in self.earlier.tables.items()
            }
        members = {}
        for name in self.declaration.hospitals:
            cut = PATIENTS in self.folders[name].cut
            everybody = self.folders[name].everybody if cut else read.get(name, self._hospital(name).index)
            members[name] = sorted(everybody[~everybody.isin(self.withdrawn)] if self.withdrawn else everybody)
        return members

    def _hospital(self, name: str) -> pd.DataFrame:
        assert self.earlier is not None
        return self.earlier.hospital_of(name)

    def _fresh_at(
        self, hospital: str, fresh: Mapping[str, Mapping[str, Fresh]], members: list[str], prints: Prints
    ) -> dict[str, set[str]]:
        """By modality, whom of a hospital is packed anew."""
        each = fresh.get(hospital, fresh.get(self.root.name, {}))
        here, index = set(members), pd.Index(members, dtype=object)
        new = set(index[self._hospital(hospital).index.get_indexer(index) < 0])
        at = {name: one.of(here) | new for name, one in each.items()}
        for name, one in preparations().items():
            if one.storage.stored:
                images = changed_images(prints.get((hospital, name)), self.before.get((hospital, name)))
                at[name] = new | here.intersection(images)
        return at

    def _dictionary(self, growth: Growth, sites: list[Site]) -> DataDictionary:
        """That of the earlier preparation, with which what changed must agree."""
        assert self.earlier is not None
        earlier = DataDictionary.model_validate(self.earlier.content["dictionary"])
        dictionary = growth.dictionary
        for preparation in preparations().values():
            dictionary = preparation.complete(dictionary, sites)
        if dictionary == earlier:
            return earlier
        known = set(earlier.genes)
        same_but_genes = dictionary.model_copy(update={"genes": earlier.genes}) == earlier
        whole = any(
            set(growth.members[name]) <= growth.fresh[name]["genomics"]
            for name, table in self.earlier.tables.items()
            if name in growth.members and len(table)
        )
        left = self.earlier.tables.keys() - growth.members.keys()
        if (
            not (same_but_genes and not self.declaration.dictionary.genes and known >= set(dictionary.genes))
            or whole
            or left
        ):
            raise UserError(
                f"{self.earlier.folder}: was prepared under another data dictionary than its folders now make (genes, "
                "columns, or the encoder of features); overwrite=true prepares the cohort anew"
            )
        return earlier


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """A folder for rows of patients, where the cohort lies and not elsewhere; what a killed process left goes first."""
    scratch = folder.with_name(f".{folder.name}.growing")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def hash_of(names: Collection[str]) -> int:
    """64 bits over names, whatever their order."""
    import xxhash

    return int(xxhash.xxh3_64_intdigest("\n".join(sorted(names)).encode()))


def _not_by_itself(problems: Problems) -> str | None:
    """Why what changed cannot be taken in without all else; None where it can."""
    if not problems.errors:
        return None
    first = problems.errors[0]
    place = f"{first.file}, {first.field}" if first.field else first.file
    return f"what changed has errors, or cannot be told by itself ({place})"  # and no word of a patient: it is recorded
