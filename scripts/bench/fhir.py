"""Seconds of `validate` on 1,000 synthetic FHIR bundles.

`python scripts/bench/fhir.py` writes a hospital of bundles, one a patient, each with a condition of interest, others,
observations and encounters (seeded), declares record and survival from them, and runs the real command. The bar: under
30 s.
"""

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from commands import run

_SYSTEM = "http://loinc.org"
_INDEX = "http://snomed.info/sct|393564001"
_CONDITIONS, _OBSERVATIONS, _ENCOUNTERS = 10, 100, 20  # a patient's


def bundle(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """One patient's resources."""
    name = f"patient-{number}"
    person = {
        "resourceType": "Patient",
        "id": name,
        "gender": ["female", "male"][number % 2],
        "birthDate": "1960-02-03",
    }
    if number % 3 == 0:
        person["deceasedDateTime"] = "2023-05-06T07:08:09Z"
    of = {"subject": {"reference": f"Patient/{name}"}}
    codes = ["393564001", *map(str, rng.integers(1, 10**6, _CONDITIONS - 1))]
    resources = [person]
    for code in codes:
        coding = {"coding": [{"system": "http://snomed.info/sct", "code": code}]}
        resources.append({"resourceType": "Condition", **of, "code": coding, "onsetDateTime": "2020-01-02"})
    days = rng.integers(0, 900, _OBSERVATIONS)
    for place, day in enumerate(days):
        when = str(np.datetime64("2020-01-02") + day)
        coding = {"coding": [{"system": _SYSTEM, "code": f"{place % 25}-0"}]}
        value = {"value": float(rng.normal(100, 20)), "unit": "U/L", "code": "U/L"}
        measured = {"status": "final", "code": coding, "effectiveDateTime": f"{when}T00:00:{place % 60:02}Z"}
        resources.append({"resourceType": "Observation", **of, **measured, "valueQuantity": value})
    resources += [{"resourceType": "Encounter", **of, "status": "finished"} for _ in range(_ENCOUNTERS)]
    entries = [{"fullUrl": f"urn:uuid:{name}-{place}", "resource": one} for place, one in enumerate(resources)]
    entries[0]["fullUrl"] = f"urn:uuid:{name}"
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def write(root: Path, patients: int, seed: int = 0) -> None:
    """`cohort.yaml` and a hospital's bundles."""
    rng = np.random.default_rng(seed)
    (root / "hospital").mkdir(parents=True)
    for number in range(patients):
        (root / "hospital" / f"{number:05}.json").write_text(json.dumps(bundle(number, rng)))
    source = {"files": "*.json", "index": _INDEX}
    columns = {
        "age": {"path": "patient.age_at"},
        "ldh": {"observation": f"{_SYSTEM}|3-0", "unit": "U/L", "pick": "closest-to-index"},
    }
    record = [
        {"name": "age", "kind": "continuous", "center": 60, "scale": 12},
        {"name": "ldh", "kind": "continuous", "center": 100, "scale": 20},
    ]
    survival = {"event": "os_event", "time": "os_days"}
    declared = {"name": "bench", "synthetic": True, "description": "drawn at random", "hospitals": ["hospital"]}
    declared["sources"] = {"patients": source, "record": {**source, "columns": columns}}
    declared["dictionary"] = {"record": record, "survival": survival}
    (root / "cohort.yaml").write_text(yaml.safe_dump(declared))


def main() -> None:
    """Writes, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=1_000)
    parser.add_argument("--most-seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "sites"
        write(root, arguments.patients)
        cohort = ("cohort=folder", "cohort.name=bench", f"cohort.root={root}", f"output={scratch}/report")
        seconds = run("foundation.data validate", *cohort)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = used.ru_utime + used.ru_stime
    print(f"{arguments.patients} bundles: {seconds:.1f} s (bar {arguments.most_seconds:g}), {busy:.1f} s of processors")
    if seconds > arguments.most_seconds:
        sys.exit("the bar is missed")


if __name__ == "__main__":
    main()
