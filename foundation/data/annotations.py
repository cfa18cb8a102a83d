"""Annotations beside images, told by their names: masks, segmentations, label maps, drawn contours.

Layouts seen: nnU-Net and MSD (`labelsTr/`), BraTS (`-seg`), BIDS derivatives (`_mask`, `_dseg`), TotalSegmentator
(`segmentations/`), KiTS and LiTS (`segmentation`), ACDC (`_gt`), PANDA and CAMELYON (`_mask`), QuPath (`-labelled`).
"""

import re
from pathlib import Path

_WORD = re.compile(
    r"(?:[a-z]*(?:mask|labelmap|segmentation|annotation|groundtruth|contour|overlay)s?|labels?)\d*"
    r"|[a-z]*segs?|msk|labell?ed|annotated|truth|(?:gtv|ctv|ptv)[a-z]*|rtstruct|rtss"
)
_LAST = re.compile(r"gt")  # too short to mean it anywhere but at the end
_FOLDER = re.compile(
    r".*(?:masks?|labels(?:tr|ts|va|val)?|labelmaps?|segmentations?|annotations?|groundtruths?|contours?|overlays?)"
    r"|label|segs?|gt|rtstruct|rtss"
)
_BESIDE = (".json", ".xml", ".geojson", ".qpdata", ".bval", ".bvec", ".tsv")  # what was noted of images, never images


def is_annotation(name: Path, patient: str) -> bool:
    """Whether a file's name or one of its folders' says that it is drawn on an image, and is none.

    Args:
        name: relative to the hospital's folder.
        patient: whose id may hold such a word.
    """
    *folders, stem = (part.replace(patient, " ").lower() for part in (*name.parent.parts, name.name.split(".")[0]))
    words = re.findall(r"[a-z0-9]+", stem)
    if any(_WORD.fullmatch(word) for word in words) or any(_LAST.fullmatch(word) for word in words[-1:]):
        return True
    return any(_FOLDER.fullmatch(re.sub(r"[^a-z0-9]", "", folder)) for folder in folders)


def is_note(name: Path) -> bool:
    """Whether it is text that scanners, converters and viewers write beside images."""
    return name.suffix.lower() in _BESIDE
