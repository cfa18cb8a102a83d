"""How the service works, as its operator sets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foundation.modalities.radiology.preparation import ScanSource


@dataclass(frozen=True)
class Settings:
    """How the service works.

    Args:
        find: filters of the archive's search, such as `{"ModalitiesInStudy": "CT"}`; only what is asked about if None.
        modalities: of the series that are looked at.
        source: how scans become slices, in the words of `sources.radiology` of a cohort.
        settle_seconds: for which a study must not have grown.
        every_seconds: between two looks at the archive.
        at_once: studies worked on together.
        failures: after which a study that fails of itself is refused.
        heat_maps: whether to ask what an answer goes by, and draw it; after so many failures of that alone, too, the
            answer is sent without.
    """

    find: Mapping[str, str] | None
    modalities: Sequence[str] = ("CT", "MR")
    source: ScanSource = field(default_factory=lambda: ScanSource(files="*"))
    settle_seconds: float = 30
    every_seconds: float = 5
    at_once: int = 2
    failures: int = 5
    heat_maps: bool = True
