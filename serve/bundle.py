"""A fine-tuned model as a bundle folder and a TorchServe archive, and the check that it answers as it did."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from finetune.predictor import RELIABILITY, SUBSETS, TaskModel
from foundation.data.cohort import Cohort
from foundation.data.splits import Split
from foundation.errors import UserError
from foundation.files import replacing_folder, write_json, write_text
from foundation.lineage import trained_groups
from foundation.modalities.request import RequestForm
from foundation.run_record import walk
from serve import examples, manifest, openapi
from serve import schema as bundle_schema
from serve.card_endpoint import FOLDER as CARD
from serve.client import to_request
from serve.fhir.declaration import FILE as FHIR
from serve.fhir.declaration import read_declaration
from serve.manifest import MODEL
from serve.monitoring import reference
from serve.predictor import Predictor
from serve.schema import BundleSchema, Digests
from serve.torchserve import consilium_handler

_PARTS = ("encoder", "head.safetensors", "task.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_bundle(
    run: Path, bundle: Path, name: str | None, cohort: Cohort, card: Path | None = None, fhir: Path | None = None
) -> BundleSchema:
    """Copies the task model and writes schema and manifest: under a temporary name first, then renamed.

    Args:
        run: output of fine-tuning.
        bundle: folder to write.
        name: of the model; made from cohort and task if not given.
        cohort: the model was trained on; tells the unit of expression.
        card: folder of a card of this model, to travel in the bundle.
        fhir: YAML of what of a FHIR Bundle is which part of a request, to travel likewise.

    Raises:
        UserError: if the run holds no task model, or no patient trained any of its modalities.
    """
    for part in _PARTS:
        if not (run / part).exists():
            raise UserError(f"{run / part}: missing; give the output folder of python -m finetune as run=...")
    with replacing_folder(bundle) as temporary:
        (temporary / MODEL).mkdir()
        for part in (*_PARTS, *(name for name in (RELIABILITY, SUBSETS) if (run / name).exists())):
            copy = shutil.copytree if (run / part).is_dir() else shutil.copy2
            copy(run / part, temporary / MODEL / part)
        schema = _describe(run, name, cohort, manifest.digests(temporary))
        write_text(temporary / bundle_schema.FILE, schema.model_dump_json(indent=2) + "\n")
        for side, content in (("request", schema.describe_request()), ("response", schema.describe_response())):
            write_json(temporary / f"{side}.schema.json", content, sort_keys=False)
        write_json(temporary / openapi.FILE, openapi.describe(schema, fhir is not None), sort_keys=False)
        _count_reference(run, temporary, schema, cohort)
        patient = held_out_patient(run, cohort) if cohort.synthetic else None
        if patient is not None:
            examples.write(temporary, to_request(cohort.sample(patient), schema))
        if fhir is not None:
            write_text(
                temporary / FHIR, read_declaration(fhir, schema).model_dump_json(indent=2, exclude_none=True) + "\n"
            )
        if card is not None:
            shutil.copytree(card, temporary / CARD)
        manifest.write(temporary)
    return schema


def write_archive(bundle: Path, schema: BundleSchema, output: Path) -> Path:
    """Packs the bundle and the handler as `<name>.mar` with TorchServe's own archiver."""
    with tempfile.TemporaryDirectory(prefix="consilium-") as scratch:
        # The archiver flattens the folder that it is given, not the folders inside: one level more keeps the tree.
        shutil.copytree(bundle, Path(scratch) / "files" / "bundle")
        (Path(scratch) / "made").mkdir()
        program = "from model_archiver.model_packaging import generate_model_archive as run; run()"
        arguments = ["--model-name", schema.name, "--version", schema.version, "--runtime", "python"]
        arguments += ["--handler", str(Path(consilium_handler.__file__)), "--extra-files", f"{scratch}/files"]
        arguments += ["--export-path", f"{scratch}/made", "--archive-format", "zip-store"]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "TMPDIR": scratch},
            capture_output=True,
            text=True,
            check=False,
        )
        made = Path(scratch) / "made" / f"{schema.name}.mar"
        if done.returncode != 0 or not made.is_file():
            raise UserError(f"torch-model-archiver failed: {(done.stderr or done.stdout).strip()[-300:]}")
        _add_hidden(made, bundle)
        unfinished = output / f".{made.name}.writing"
        shutil.move(made, unfinished)
        return unfinished.replace(output / made.name)


def _add_hidden(archive: Path, bundle: Path) -> None:
    """Adds the files of hidden folders, such as a card's `.eval_results`, which the archiver leaves out."""
    with zipfile.ZipFile(archive, "a") as stream:
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            name = f"bundle/{path.relative_to(bundle).as_posix()}"
            if name not in stream.namelist():
                stream.write(path, name)


def largest_difference(one: Any, other: Any) -> float:
    """The largest difference between the numbers that two predictions have in common."""
    if isinstance(one, dict) and isinstance(other, dict):
        return max((largest_difference(one[key], other[key]) for key in one.keys() & other.keys()), default=0.0)
    if isinstance(one, list) and isinstance(other, list):
        return max((largest_difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return abs(float(one) - float(other)) if numbers else 0.0


def held_out_patient(run: Path, cohort: Cohort) -> str | None:
    """The patient of the run's test split who has the most modalities; None if nobody was held out."""
    return max(_split(run, cohort).test, key=lambda patient: len(cohort.sample(patient)), default=None)


def patient_to_compare(run: Path, cohort: Cohort, schema: BundleSchema) -> str:
    """The patient held out who has the most modalities, or the first of the cohort whom the model can be asked about.

    Raises:
        UserError: if nobody has any modality that the bundle takes.
    """
    held_out = held_out_patient(run, cohort)
    there = (patient for patient in cohort.patients.index if cohort.sample(patient).keys() & schema.modalities.keys())
    patient = next(there, None) if held_out is None else held_out
    if patient is None:
        names = ", ".join(schema.modalities)
        raise UserError(f"{cohort.folder}: no patient has any of {names}; give the cohort that the model is for")
    return patient


def _describe(run: Path, name: str | None, cohort: Cohort, files: dict[str, str]) -> BundleSchema:
    model = TaskModel.load(run)
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{cohort.name}-{model.task['name']}")
    if not _NAME.fullmatch(name):
        raise UserError(f"name: found {name!r}; give letters, digits, '-', '_' and '.', a letter or digit first")
    train = _split(run, cohort).train
    trained = trained_groups(record.content for record in walk(run))
    forms: dict[str, RequestForm] = {
        key: modality.request_form(cohort.dictionary)  # type: ignore[operator]
        for key, modality in model.encoder.modalities.items()
        if key in trained
    }
    if not forms:
        finding = f"no record from {run} on counts a patient who trained any of {', '.join(model.encoder.modalities)}"
        raise UserError(f"{finding}; run python -m finetune again, on a cohort that has them")
    schema = BundleSchema(
        name=name,
        version="",
        task=model.task["name"],
        prediction=model.head.prediction_schema(),
        reliability=None if model.reliability is None else model.reliability.schema(model.head.regions()),
        synthetic=cohort.synthetic,
        modalities={key: form.fitted(cohort.values(train, key)) for key, form in forms.items()},
    )
    return schema.model_copy(update={"version": schema.version_of(files)})


def _count_reference(run: Path, bundle: Path, schema: BundleSchema, cohort: Cohort) -> None:
    """What the bundle answers about patients whom training held back, in counts, for use to be compared with."""
    parts = _split(run, cohort)
    patients = parts.validation or parts.train
    predictor = Predictor(schema, TaskModel.load(run), Digests(model="", contract=""))
    if patients:
        reference.write(bundle, predictor, cohort, patients)


def _split(run: Path, cohort: Cohort) -> Split:
    """The patients of a run by part; none where it left no word of them, as in a federation."""
    path = run / "split.json"
    return (
        Split.read(path, cohort.digest, cohort.patients.index, cohort.earlier) if path.is_file() else Split([], [], [])
    )
