"""Latency of answers, by how many are asked at a time: TorchServe, the predictor in it, and the bare model in that."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import foundation  # noqa: F401  # isort: skip
import torch

from foundation.data.cohort import Cohort
from foundation.errors import UserError
from gpu_sections.device import device, synchronize
from gpu_sections.jobs import Row
from gpu_sections.settings import Plan, call
from serve import server
from serve.client import Client
from serve.predictor import Predictor
from serve.schema import Patient, read_request


def endpoint(plan: Plan, port: int) -> list[Row]:
    """Rows of the bare model, the predictor and TorchServe, for a head on the encoder that the path trained."""
    head, export = plan.folder / "head", plan.folder / "export"
    call("finetune", *_head(plan), f"output={head}")
    call("serve.export", f"run={head}", f"example={Cohort(plan.cohort).patients.index[0]}", f"output={export}")
    body = (export / "patient.json").read_bytes()
    predictor = Predictor.load(export / "bundle", device())
    sizes, rounds = ([1, 2], 4) if plan.toy else ([1, 8, 32], 100)
    rows = [_row("bare model", size, _bare(predictor, body, size), rounds) for size in sizes]
    rows += [_row("predictor", size, _answering(predictor, body, size), rounds) for size in sizes]
    del predictor
    call(
        "serve", "host=torchserve", f"bundle={export}", f"output={plan.folder / 'serve'}", f"port={port}", "wait=false"
    )
    try:
        running = server.Server.load(plan.folder / "serve")
        with ThreadPoolExecutor(max(sizes)) as threads:
            rows += [_served(running, body, size, rounds, threads) for size in sizes]
    finally:
        stop(plan)
    return rows


def stop(plan: Plan) -> None:
    """Ends TorchServe, also for a job that was killed."""
    if (plan.folder / "serve" / server.STATE).is_file():
        server.stop(plan.folder / "serve")


def _head(plan: Plan) -> list[str]:
    trainer = ["trainer=cpu"] if plan.toy else ["trainer=gpu"]
    steps = ["steps=2", "progress=false", "validate_every=1", "checkpoint_every=0"]
    data = [f"data.folder={plan.cohort}", "data.batch_size=8", "data.test_hospitals=[]"]
    return [f"pretrained={plan.folder / 'path-base'}", "task=biomarker", *trainer, *steps, *data]


def _bare(predictor: Predictor, body: bytes, size: int) -> Callable[[], object]:
    """The model's forward pass alone, for patients that are on the device already."""
    model = predictor.model
    patient = read_request(body, predictor.schema)
    assert isinstance(patient, Patient)
    batch = model.encoder.encode_samples([model.usable(patient.sample)] * size).to(device())

    @torch.inference_mode()
    def step() -> object:
        scores = model.head(model.encoder(batch).fused)
        synchronize()
        return scores

    return step


def _answering(predictor: Predictor, body: bytes, size: int) -> Callable[[], object]:
    def step() -> object:
        answers = predictor.answer([body] * size)
        for answer in answers:
            if isinstance(answer, UserError):
                raise answer
        return answers

    return step


def _row(name: str, size: int, step: Callable[[], object], rounds: int) -> Row:
    for _ in range(3):
        step()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return {"name": name, "batch": size, **_percentiles(seconds)}


def _served(running: server.Server, body: bytes, size: int, rounds: int, threads: ThreadPoolExecutor) -> Row:
    """So many clients at a time, each waiting for its answer."""
    token = running.token()

    def ask(_: int) -> float:
        started = time.perf_counter()
        Client(running.address, token, 60).predict(body)
        return time.perf_counter() - started

    list(threads.map(ask, range(size)))
    seconds = [second for _ in range(max(2, rounds // size)) for second in threads.map(ask, range(size))]
    return {"name": "TorchServe", "batch": size, **_percentiles(seconds)}


def _percentiles(seconds: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {"p50_ms": 1000 * cuts[9], "p95_ms": 1000 * cuts[18], "answers": len(seconds)}
