"""The file of an exported program: written without weights, and read only where it holds nothing but tensor operations.

`torch.export.load` unpickles what an archive marks for it, evaluates its expressions as Python, and calls whatever
under `torch` its graph names. So a program is read after the bundle around it was verified, and not before each of
these is known to be harmless; who wants to be sure of where it comes from pins the key that signed the bundle.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from finetune.predictor import SUBSETS, TaskModel
from foundation.errors import UserError
from foundation.files import replacing
from foundation.modalities.base import Inputs
from foundation.tensors import read_tensors
from serve import manifest
from serve.manifest import MODEL
from serve.program.core import Core, Weights, WithoutWeights, rows
from serve.schema import BundleSchema
from serve.verification import verify_bundle

FILE = "program.pt2"
Run = Callable[[dict[str, Inputs], dict[str, Tensor]], tuple[Tensor, Tensor]]
_PATIENTS, _PARTS = 3, 5  # of the example that a program is traced with; any other number does as well
_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, NotImplementedError)
_ADVICE = "copy the bundle again, or export it again"

_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt"
)
_OPERATION = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.(add|sub|mul|floordiv|mod|neg|eq|ne|lt|le|gt|ge|and_)")
_CLASSES = {
    "Symbol",
    "Integer",
    "Add",
    "Mul",
    "Pow",
    "Mod",
    "PythonMod",
    "FloorDiv",
    "CleanDiv",
    "CeilDiv",
    "Min",
    "Max",
}
_RELATIONS = {"Max", "Equality", "Unequality", "GreaterThan", "StrictGreaterThan", "LessThan", "StrictLessThan"}
_WORDS = _CLASSES | _RELATIONS | {"And", "Or", "Not", "True", "False", "positive", "integer", "nonnegative"}
_EXPRESSION = re.compile(r"[\w\s(),'=+*/<>-]*")
_SIZE = r"L(\['[\w.]+'\])+\.size\(\)\[\d\]"
_GUARD = re.compile(rf"{_SIZE} (==|<=) {_SIZE}")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"[suz]+f?\d+")


def add(bundle: Path) -> str | None:
    """Exports the model of a bundle that was just written, and puts the program in it.

    Returns:
        See `write`.
    """
    model = TaskModel.load(bundle / MODEL)
    modalities = [name for name in model.task["modalities"] if name in BundleSchema.load(bundle).modalities]
    reason = write(bundle / FILE, model, modalities)
    manifest.write(bundle)
    return reason


def write(path: Path, model: TaskModel, modalities: Sequence[str]) -> str | None:
    """Exports a model as a program.

    Args:
        path: of the file.
        model: to export, on the CPU.
        modalities: of the task that requests may hold.

    Returns:
        None; where it cannot be exported, what of it cannot and why, and there is no file.
    """
    try:
        program = _export(model, modalities)
    except _FAILURES as error:
        return f"{_culprit(model, modalities)}: {_first_line(error)}"
    for node in program.graph.nodes:  # where a line of code stood on this machine is nobody's business
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn", "custom"):
            node.meta.pop(name, None)
    program.example_inputs = None  # pickled, and nobody's need
    with replacing(path) as temporary, temporary.open("wb") as stream:
        torch.export.save(program, stream)
    return None


def weights_of(core: nn.Module) -> Weights:
    """A core's weights by the names that a program takes them by, in their order."""
    return {name: value.detach() for name, value in sorted(core.state_dict().items())}


def load(bundle: Path, trusted_key: Path | None = None) -> Run:
    """The program of a bundle, with the bundle's weights.

    Args:
        bundle: as `serve.export` wrote it.
        trusted_key: of who must have signed it; see `serve.verification`.

    Returns:
        What makes raw scores and plain features of `serve.program.core.rows`.

    Raises:
        UserError: if the bundle is not as it was exported, has no program, or has one that holds anything else than
            tensor operations.
    """
    verify_bundle(bundle, trusted_key)
    path = bundle / FILE
    if not path.is_file():
        raise UserError(f"{path}: missing, for this bundle was exported without a program")
    weights = {f"encoder.{name}": value for name, value in _tensors(bundle, "encoder/model.safetensors").items()}
    weights |= {f"head.{name}": value for name, value in _tensors(bundle, "head.safetensors").items()}
    if (bundle / MODEL / SUBSETS).is_file():
        weights |= {f"subsets.{name}": value for name, value in _tensors(bundle, SUBSETS).items()}
    weights = dict(sorted(weights.items()))
    run = read(path).module()

    def with_weights(inputs: dict[str, Inputs], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            scores, features = run(weights, inputs, present)
        return scores, features

    return with_weights


def read(path: Path) -> ExportedProgram:
    """A program from its file.

    Raises:
        UserError: naming what it holds beside tensor operations, or if it is damaged.
    """
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check(path, archive)
        return torch.export.load(io.BytesIO(content))
    except (zipfile.BadZipFile, KeyError, *_FAILURES) as error:
        raise UserError(f"{path}: no readable program ({_first_line(error)}); {_ADVICE}") from error


def _tensors(bundle: Path, name: str) -> Weights:
    return read_tensors(bundle / MODEL / name, _ADVICE)


def _export(model: TaskModel, modalities: Sequence[str]) -> ExportedProgram:
    core = Core(model, modalities)
    inputs, present = _example(model, modalities)
    patients = Dim("patients", min=1)
    several = {name: core.encoder.modalities[name].several for name in inputs}
    parts = {name: Dim(f"{name}_parts", min=1) for name, more in several.items() if more}
    sizes = {
        name: {key: {0: patients} | ({1: parts[name]} if name in parts else {}) for key in tensors}
        for name, tensors in inputs.items()
    }
    weights = weights_of(core)
    shapes = (dict.fromkeys(weights), sizes, {name: {0: patients} for name in present})
    # Contractions in an order of opt_einsum's would fix the number of patients: it counts with plain numbers.
    with torch.no_grad(), torch.backends.opt_einsum.flags(enabled=False):
        program = torch.export.export(WithoutWeights(core), (weights, inputs, present), dynamic_shapes=shapes)
    special = next((guard for guard in program._guards_code if not _GUARD.fullmatch(guard)), None)
    if special is not None:
        raise ValueError(f"it would hold for some sizes alone, where {special}")
    return program


def _example(model: TaskModel, modalities: Sequence[str]) -> tuple[dict[str, Inputs], dict[str, Tensor]]:
    """Inputs of patients of whom nothing is known but that they have several parts of each set."""
    patient: dict[str, Inputs] = {}
    for place, name in enumerate(modalities):
        module = model.encoder.modalities[name]
        inputs = module.transform(module.blank(), None)  # type: ignore[operator]
        if module.several:
            inputs = {key: value.repeat_interleave(_PARTS + place, dim=0) for key, value in inputs.items()}
        patient[name] = inputs
    return rows(model, modalities, [patient] * _PATIENTS)


def _culprit(model: TaskModel, modalities: Sequence[str]) -> str:
    """The first modality that cannot be exported by itself; the head or the fusion where each can."""
    for name in modalities:
        try:
            _export(model, [name])
        except _FAILURES:
            return name
    return "head or fusion"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _check(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses what would run or unpickle anything but operations on tensors."""
    top = archive.namelist()[0].partition("/")[0]
    for full in archive.namelist():
        folder, _, name = full.partition("/")
        pickled = name.endswith(".pt") and archive.getinfo(full).file_size > 0
        if folder != top or not _MEMBERS.fullmatch(name) or pickled or archive.namelist().count(full) > 1:
            raise _refusal(path, f"a member {full[:80]!r}")
    for kind in ("weights", "constants"):
        content = json.loads(archive.read(f"{top}/data/{kind}/model_{kind}_config.json"))
        for name, entry in content["config"].items():
            if entry["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
                raise _refusal(path, f"{kind} that are pickled ({name[:80]})")
    model = json.loads(archive.read(f"{top}/models/model.json"))
    for key, value in _leaves(model):
        if key == "target" and not (isinstance(value, str) and _OPERATION.fullmatch(value)):
            raise _refusal(path, f"a call of {str(value)[:80]!r}")
        if key == "expr_str" and not _harmless(value):
            raise _refusal(path, f"an expression {str(value)[:80]!r}")
        if key == "guards_code" and not all(isinstance(guard, str) and _GUARD.fullmatch(guard) for guard in value):
            raise _refusal(path, "a condition beside the sizes of its inputs")


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Keys of all objects in JSON, with what stands there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)


def _harmless(expression: Any) -> bool:
    """Whether an expression is arithmetic over sizes."""
    if not isinstance(expression, str) or not _EXPRESSION.fullmatch(expression):
        return False
    return all(word in _WORDS or _SYMBOL.fullmatch(word) for word in _NAME.findall(expression))


def _refusal(path: Path, found: str) -> UserError:
    return UserError(f"{path}: holds {found}, which no program of serve.export does; {_ADVICE}")
