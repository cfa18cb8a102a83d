"""An untrained task model with all five modalities, as `python -m finetune` leaves it, and its bundle."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import torch
from omegaconf import OmegaConf

from finetune.fit import save
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from foundation.data.cohort import Cohort
from foundation.data.splits import split
from foundation.encoder import MultimodalEncoder
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.radiology.encoder import Radiology
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report
from foundation.run_record import RunRecord
from serve import host
from serve.bundle import write_bundle
from serve.client import to_request
from serve.predictor import Predictor
from serve.server import Server

WIDTH = 32


@pytest.fixture(scope="session")
def cohort(small_cohort: Path) -> Cohort:
    return Cohort(small_cohort)


@pytest.fixture(scope="session")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetuned")
    torch.manual_seed(0)
    columns = [column.model_dump() for column in cohort.dictionary.record]
    modalities = {
        "pathology": Pathology(WIDTH, backbone="test_resnet", size=32),
        "radiology": Radiology(WIDTH, backbone="test_resnet", size=32),
        "genomics": Genomics(WIDTH, cohort.dictionary.genes),
        "report": Report(WIDTH, layers=1),
        "record": Record(WIDTH, columns),
    }
    encoder = MultimodalEncoder(modalities, WIDTH, fusion_layers=1)
    # As after training: moments of expression that are not those of the start.
    encoder.modalities["genomics"].expression_mean += 4
    module = FinetuneModule(encoder, Classification(WIDTH, "biomarker")).eval()
    task = OmegaConf.create({"name": "biomarker", "drop_inputs": {}})
    with RunRecord.open(folder, "python -m finetune", {}, 0, [cohort.folder], cohort.facts()) as record:
        record.note("samples", dict.fromkeys(modalities, 9))
        save(module, task, list(modalities), folder)
        split(cohort, ["summit"], 0.2, 0).save(folder / "split.json", cohort.digest)
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "bundle"
    write_bundle(run, folder, None, cohort)
    return folder


@pytest.fixture(scope="session")
def predictor(bundle: Path) -> Predictor:
    return Predictor.load(bundle)


@pytest.fixture(scope="session")
def complete(cohort: Cohort) -> str:
    """A patient who has everything."""
    return next(patient for patient in cohort.patients.index if len(cohort.sample(patient)) == 5)


def alike(one: object, other: object) -> bool:
    """Whether two answers have the same fields in the same order, the same text, and numbers equal within rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)
    return one == other


@pytest.fixture(scope="session")
def check_contract(predictor: Predictor, cohort: Cohort, complete: str) -> Callable[..., None]:
    """Holds a server's replies to the same requests against those of the predictor in this process.

    Text is the same byte by byte; the last digit of a number may not be: a product of matrices depends on where in
    memory the weights of a process lie.
    """
    request = to_request(cohort.sample(complete), predictor.schema)
    bodies = [json.dumps(request).encode(), *(json.dumps({name: request[name]}).encode() for name in request)]
    bodies += [b"", b"{", b"[]", b"\xff", b'{"report": 3}', b'{"pathology": ["?"]}', b'{"record": {"age": NaN}}']
    bodies += [b'{"report": "a", "report": "b"}', b'{"x": 1}', b"{}", b'{"record": {"age": 1e22}}']
    kinds = [*(["application/json"] * len(bodies)), "text/plain"]
    bodies.append(b'{"report": "Atypia."}')

    def check(server: Server, echoes: tuple[str, ...] = ("content-type", "x-request-id")) -> None:
        for place, (body, kind) in enumerate(zip(bodies, kinds, strict=True)):
            headers = {"Content-Type": kind, "X-Request-ID": f"case-{place}"}
            (expected,) = host.answer(predictor, [host.Call(body, headers, "made")])
            headers["Authorization"] = f"Bearer {server.token()}"
            reply = requests.post(server.address, data=body, headers=headers, timeout=60)
            assert reply.status_code == expected.status, body[:80]
            assert alike(json.loads(reply.content), json.loads(expected.body)), (reply.content, expected.body)
            assert {name: reply.headers[name] for name in echoes} == {name: expected.headers[name] for name in echoes}

    return check
