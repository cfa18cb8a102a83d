"""The world of a simulated life: hospitals whose folders change from quarter to quarter, drawn once and shown by parts.

Every hospital's patients are drawn for the whole life, and a quarter shows those who have come by then. A changed
scanner shows the same patients in other colours, from a second drawing with the same seed.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import yaml

from foundation.data.deidentify import keyed_hash, read_or_make_key
from foundation.data.synthetic import Site, write
from foundation.files import SECRET, write_text

QUARTERS = tuple(f"{2027 + number // 4}-Q{1 + number % 4}" for number in range(8))
SITES = (
    Site("riverside", 0, (1.00, 0.97, 1.00), 4.0, "log2_tpm", 0.0),
    Site("northgate", 0, (0.94, 1.00, 0.97), 7.0, "log2_tpm", 0.3, ("genomics",)),
    Site("lakeview", 0, (1.00, 1.00, 1.00), 5.0, "tpm", -0.2),
    Site("summit", 0, (0.97, 0.93, 1.00), 6.0, "log2_tpm", 0.2),
    Site("eastbank", 0, (1.00, 0.95, 0.96), 5.0, "log2_tpm", 0.1),
)
CHANGED = {"stain": (0.55, 0.80, 0.62), "noise": 16.0}  # of the new scanner
LABEL = "biomarker"
KEY = "names.key"  # by which prepare names patients; it stays at the hospitals


@dataclass(frozen=True)
class Events:
    """What happens when, by quarter from 0.

    Attributes:
        scanner: hospital and quarter from which its new patients are imaged by another scanner.
        joins: hospital and quarter.
        leaves: likewise.
        withdrawals: by quarter, how many patients of each hospital withdraw.
        poisoned: quarter, and the hospitals whose export inverts the label in it.
        grafted: modality and the quarter from which hospitals have it.
    """

    scanner: tuple[str, int] = ("northgate", 3)
    joins: tuple[str, int] = ("eastbank", 2)
    leaves: tuple[str, int] = ("summit", 6)
    withdrawals: dict[int, int] = field(default_factory=lambda: {3: 2, 5: 1})
    poisoned: tuple[int, tuple[str, ...]] = (4, ("riverside", "lakeview"))
    grafted: tuple[str, int] = ("radiology", 5)


class World:
    """Hospitals' folders.

    Args:
        folder: to work in.
        first: patients of a hospital when it comes.
        more: patients who come to each in every later quarter.
        events: of the life.
        seed: of all patients, and of the key by which they are named.
    """

    def __init__(self, folder: Path, first: int, more: int, events: Events, seed: int) -> None:
        self.root = folder / "hospitals"
        # Else it would be drawn anew in each life, and with the packed names every split, whatever the seed.
        write_text(self.root / KEY, f"{hashlib.sha256(f'life {seed}'.encode()).hexdigest()}\n", SECRET)
        self.first, self.more, self.events = first, more, events
        self.drawn = {False: folder / "drawn", True: folder / "drawn-later"}
        sites = [replace(site, patients=first + more * (len(QUARTERS) - 1)) for site in SITES]
        write(self.drawn[False], seed, sites)
        hospital, _ = events.scanner
        changed = [replace(one, **CHANGED) if one.name == hospital else one for one in sites]  # type: ignore[arg-type]
        write(self.drawn[True], seed, changed)
        self.withdrawn: list[str] = []

    def hospitals(self, quarter: int) -> list[str]:
        """Those that take part."""
        (joins, since), (leaves, until) = self.events.joins, self.events.leaves
        names = [site.name for site in SITES]
        return [
            one for one in names if not (one == joins and quarter < since) and not (one == leaves and quarter >= until)
        ]

    def patients(self, hospital: str, quarter: int) -> list[str]:
        """Ids of a hospital's patients by a quarter, in the order of their coming, those who withdrew among them."""
        joins, since = self.events.joins
        ago = quarter - (since if hospital == joins else 0)
        count = 0 if ago < 0 else self.first + self.more * ago
        return [str(one) for one in self._outcomes(hospital)["patient_id"][:count]]

    def newcomers(self, hospital: str, quarter: int) -> list[str]:
        """Those of them who came in it."""
        before = set(self.patients(hospital, quarter - 1)) if quarter else set()
        return [one for one in self.patients(hospital, quarter) if one not in before]

    def outcomes(self, hospital: str, quarter: int) -> pd.DataFrame:
        """What has come, by a quarter, of those who were there in an earlier one: the truth, whatever exports say."""
        table = self._outcomes(hospital)
        return table[table["patient_id"].isin(self.patients(hospital, quarter - 1))][["patient_id", LABEL]]

    def names(self, patients: Sequence[str]) -> list[str]:
        """Of patients, as packed: keyed hashes."""
        return keyed_hash(list(patients), read_or_make_key(self.root / KEY, self.root.parent / "cohort"))

    def show(self, quarter: int, repaired: bool = False) -> None:
        """Writes what hospitals' folders hold in a quarter; files that stay are not touched.

        Args:
            quarter: from 0.
            repaired: as it would be had nobody poisoned an export.
        """
        for name in self.hospitals(quarter):
            self._show(name, quarter, repaired)
        if repaired:
            return
        for path in self.root.iterdir():
            if path.is_dir() and path.name not in self.hospitals(quarter):
                shutil.rmtree(path)
        for hospital in self.hospitals(quarter) if quarter in self.events.withdrawals else ():
            here = [one for one in self.patients(hospital, quarter - 1) if one not in self.withdrawn]
            self.withdrawn += here[1 :: len(here) // 2][: self.events.withdrawals[quarter]]
        declared = yaml.safe_load((self.drawn[False] / "cohort.yaml").read_text())
        names = self.hospitals(quarter)
        units = {name: unit for name, unit in declared["expression_units"].items() if name in names}
        declared |= {"name": "life", "hospitals": names, "expression_units": units, "withdrawn": "withdrawn.txt"}
        declared["deidentify"] = {"ids": "hash", "key": KEY}
        (self.root / "withdrawn.txt").write_text("".join(f"{one}\n" for one in self.withdrawn))
        (self.root / "cohort.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))

    def _show(self, hospital: str, quarter: int, repaired: bool) -> None:
        scanned, since = self.events.scanner
        here = set(self.patients(hospital, quarter))
        before = set(self.patients(hospital, since - 1)) if hospital == scanned else here
        poisoned, where = self.events.poisoned
        (self.root / hospital).mkdir(parents=True, exist_ok=True)
        for name, table in self._tables(hospital):
            rows = table[table["patient_id"].isin(here)]
            if name == "patients.csv" and quarter == poisoned and hospital in where and not repaired:
                rows = rows.assign(**{LABEL: 1 - rows[LABEL]})
            if "file" in rows:
                if name.removesuffix(".csv") == self.events.grafted[0] and quarter < self.events.grafted[1]:
                    continue
                for patient, file in zip(rows["patient_id"], rows["file"], strict=True):
                    self._link(hospital, str(file), later=patient not in before)
            rows.to_csv(self.root / hospital / name, index=False)

    def _link(self, hospital: str, file: str, later: bool) -> None:
        to = self.root / hospital / file
        if not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            to.hardlink_to(self.drawn[later] / hospital / file)

    def _tables(self, hospital: str) -> Iterator[tuple[str, pd.DataFrame]]:
        for path in sorted((self.drawn[False] / hospital).glob("*.csv")):
            yield path.name, pd.read_csv(path, dtype={"patient_id": str})

    def _outcomes(self, hospital: str) -> pd.DataFrame:
        return pd.read_csv(self.drawn[False] / hospital / "patients.csv", dtype={"patient_id": str})
