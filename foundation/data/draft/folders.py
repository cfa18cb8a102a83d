"""What a folder is, told by the names of its files: BIDS, nnU-Net, TRIDENT, CLAM, OMOP, Synthea, FHIR, or images."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from foundation.data.annotations import is_annotation
from foundation.data.draft.glance import Glance
from foundation.data.draft.tables import Recognised
from foundation.data.listing import KINDS

_MOST = 20_000  # files looked at
_INDEX = "SYSTEM|CODE of the condition with which follow-up begins"


def recognise_folder(folder: Path, tables: list[Glance]) -> list[Recognised]:
    """Images, features and whole data models that lie in a folder; `patients` where they bring that table."""
    names = {table.name.rpartition("/")[2].lower().partition(".")[0]: table for table in tables}
    found = _events(names)
    if any(folder.glob("sub-*")):
        asked = ["Which suffix, of several scans a patient? Say files: sub-*/**/anat/*_T1w.nii*, for example."]
        found.append(Recognised("radiology", {"form": "bids"}, asked))
        if "participants" in names:
            found.append(Recognised("patients", {"form": "bids"}))
        return found
    if any(folder.glob("images[Tt][rs]")):
        asked = ["Channel 0 of each case is taken; another is files: images[Tt][rs]/*_0001.*"]
        return [*found, Recognised("radiology", {"form": "nnunet"}, asked)]
    features = sorted({path.parent for path in folder.glob("*px_*overlap/features_*/*.h5")})
    if features:
        asked = ["The encoders are " + ", ".join(path.name for path in features) + "; is the first the one?"]
        files = (features[0].relative_to(folder) / "*.h5").as_posix()
        said = {"form": "trident"} | ({"files": files} if len(features) > 1 else {})
        return [*found, Recognised("pathology", said, asked if len(features) > 1 else [])]
    if any(folder.glob("**/h5_files/*.h5")):
        return [*found, _clam(folder, tables)]
    return found + ([] if found else _fhir(folder) + _images(folder))


def _events(names: dict[str, Glance]) -> list[Recognised]:
    """OMOP's tables or Synthea's, of which patients and record are read alike."""
    form = None
    if "person" in names and {"condition_occurrence", "measurement"} & names.keys():
        form, table = "omop", names["person"]
    elif "patients" in names and "BIRTHDATE" in names["patients"].columns and "conditions" in names:
        form, table = "synthea", names["patients"]
    if form is None:
        return []
    head = table.name.rpartition("/")[0]
    place = {"files": f"{head}/*" if head else "*", "form": form, "index": f"?|{_INDEX}"}
    columns = {"age": {"path": "patient.age_at"}, "sex": {"path": "patient.gender"}}
    asked = [
        f"Write the index: {_INDEX}, such as " + ("omop|4112853" if form == "omop" else "http://snomed.info/sct|...")
    ]
    more = "Which measurements and conditions are inputs? Add them: {observation: SYSTEM|CODE, unit: ...}"
    return [Recognised("patients", place, asked), Recognised("record", {**place, "columns": columns}, [more])]


def _clam(folder: Path, tables: list[Glance]) -> Recognised:
    slides = next((table for table in tables if {"case_id", "slide_id"} <= set(table.columns)), None)
    if slides is None:
        return Recognised("pathology", {"form": "clam"}, ["Do slides' names begin with the patient's id?"])
    place = next(folder.glob("**/h5_files/*.h5")).parent.relative_to(folder).as_posix()
    table = {"file": slides.name, "key": "case_id", "columns": {"file": "slide_id"}}
    said = {"form": "clam", "table": table, "path": f"{place}/{{file}}.h5"}
    return Recognised("pathology", said, ["Does slide_id hold the files' names without their ending?"])


def _fhir(folder: Path) -> list[Recognised]:
    for pattern in ("**/*.ndjson", "**/*.json"):
        path = next((path for path in sorted(folder.glob(pattern)) if path.is_file()), None)
        if path is not None and _is_fhir(path):
            place = {"files": pattern, "index": f"?|{_INDEX}"}
            columns = {"age": {"path": "patient.age_at"}, "sex": {"path": "patient.gender"}}
            asked = [f"Write the index: {_INDEX}"]
            return [Recognised("patients", place, asked), Recognised("record", {**place, "columns": columns})]
    return []


def _is_fhir(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(2_000)
    if '"resourceType"' not in head:
        return False
    try:
        content = json.loads(head.splitlines()[0])
    except ValueError:
        return '"Bundle"' in head
    return isinstance(content, dict) and "resourceType" in content


def _images(folder: Path) -> list[Recognised]:
    """Folders of image files, by the kind that most of their files have."""
    counts: dict[str, Counter[str]] = {}
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number == _MOST:
            break
        name = path.relative_to(folder)
        kind = next((KINDS[ending] for ending in KINDS if path.name.lower().endswith(ending)), None)
        if kind is not None and len(name.parts) > 1 and not is_annotation(name, ""):
            counts.setdefault(name.parts[0], Counter())[kind] += 1
    found = []
    for top, kinds in counts.items():
        kind, number = kinds.most_common(1)[0]
        place = "pathology" if kind in ("slides", "features") else "radiology"
        asked = ["Are these radiology? Put them under pathology if not."] if kind == "images" else []
        said: dict[str, Any] = {"files": f"{top}/**/*"}
        said |= {"kind": kind} if kind in ("slides", "features", "dicom") else {}
        found.append(Recognised(place, said, [*asked, f"{number} files of {top}/ are taken: do their names hold ids?"]))
    return found
