"""Who is shown when: nobody twice, nobody lost, in an order that only seed and epoch decide."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from foundation.data.cohort import Cohort
from foundation.data.dataset import CohortModule, Collate, PatientDataset
from foundation.data.loader import PatientLoader, _one_ahead
from foundation.data.sampler import Draw, PatientSampler, draw_images, generator_of
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.record.encoder import Record

COUNT, BATCH, RANKS = st.integers(1, 200), st.integers(1, 17), st.integers(1, 6)
SEED = st.integers(-5, 2**40)


def patients(batches: list[list[Draw]]) -> list[int]:
    return [draw.patient for batch in batches for draw in batch]


def all_ranks(count: int, batch: int, ranks: int, seed: int, **more: object) -> list[PatientSampler]:
    return [PatientSampler(count, batch, seed, rank, ranks, **more) for rank in range(ranks)]


@given(COUNT, BATCH, RANKS, SEED)
def test_everybody_is_taken_and_ranks_take_equally_many_steps_of_equal_size(count, batch, ranks, seed):
    parts = [list(sampler) for sampler in all_ranks(count, batch, ranks, seed)]
    assert len({tuple(len(step) for step in part) for part in parts}) == 1
    assert len(parts[0]) == len(PatientSampler(count, batch, seed, 0, ranks))
    taken = [patient for part in parts for patient in patients(part)]
    assert set(taken) == set(range(count))
    assert len(taken) == -(-count // ranks) * ranks, "fewer than `ranks` are taken twice"


@given(COUNT, BATCH, RANKS, SEED)
def test_with_full_batches_alone_nobody_is_taken_twice(count, batch, ranks, seed):
    parts = [list(sampler) for sampler in all_ranks(count, batch, ranks, seed, drop_last=True)]
    assert {len(step) for part in parts for step in part} <= {batch}
    taken = [patient for part in parts for patient in patients(part)]
    assert len(taken) == len(set(taken)) == count // (batch * ranks) * batch * ranks


@given(COUNT, BATCH, RANKS, SEED)
def test_processes_together_take_the_order_of_one(count, batch, ranks, seed):
    alone = patients(list(PatientSampler(count, batch, seed)))
    steps = zip(*(list(sampler) for sampler in all_ranks(count, batch, ranks, seed, drop_last=True)), strict=True)
    together = [sorted(patients(list(step))) for step in steps]
    size = batch * ranks
    assert together == [sorted(alone[index * size : (index + 1) * size]) for index in range(len(together))]


@given(COUNT, BATCH, SEED, st.booleans(), st.data())
def test_an_epoch_goes_on_from_any_step(count, batch, seed, drop_last, data):
    whole = list(PatientSampler(count, batch, seed, drop_last=drop_last))
    step = data.draw(st.integers(0, len(whole)))
    killed = PatientSampler(count, batch, seed, drop_last=drop_last)
    for _ in range(step):
        killed.advance()
    resumed = PatientSampler(count, batch, seed, drop_last=drop_last)
    resumed.load_state_dict(killed.state_dict())
    assert list(resumed) == whole[step:]
    resumed.begin()
    next_epoch = step == len(whole) > 0
    assert resumed.state_dict() == {"epoch": int(next_epoch), "taken": 0 if next_epoch else killed.taken}


@given(COUNT, BATCH, BATCH, RANKS, RANKS, SEED, st.data())
def test_it_goes_on_with_other_processes_and_batches_without_overlap_or_loss(
    count, batch, other_batch, ranks, other_ranks, seed, data
):
    before = all_ranks(count, batch, ranks, seed, drop_last=True)
    steps = data.draw(st.integers(0, len(before[0])))
    taken = [patient for sampler in before for patient in patients(list(sampler)[:steps])]
    for _ in range(steps):
        before[0].advance()
    for after in all_ranks(count, other_batch, other_ranks, seed):
        after.load_state_dict(before[0].state_dict())
        taken += patients(list(after))
    assert set(taken) == set(range(count))
    assert len(taken) < count + other_ranks


@given(COUNT, SEED, st.integers(0, 1000))
def test_the_order_is_a_function_of_seed_and_epoch(count, seed, epoch):
    orders = []
    for torch_seed in (1, 2):
        torch.manual_seed(torch_seed)
        np.random.seed(torch_seed)
        sampler = PatientSampler(count, 4, seed)
        sampler.load_state_dict({"epoch": epoch, "taken": 0})
        orders.append(list(sampler))
    assert orders[0] == orders[1]
    assert {draw.epoch for batch in orders[0] for draw in batch} == {epoch}


def test_another_seed_or_epoch_gives_another_order():
    sampler = PatientSampler(100, 10)
    found = [patients(list(sampler)), patients(list(PatientSampler(100, 10, seed=1)))]
    sampler.load_state_dict({"epoch": 1, "taken": 0})
    found.append(patients(list(sampler)))
    found.append(patients(list(PatientSampler(100, 10, shuffle=False))))
    assert len({tuple(order) for order in found}) == 4
    assert found[-1] == list(range(100))


@pytest.mark.parametrize(("rank", "ranks", "batch"), [(2, 2, 4), (-1, 2, 4), (0, 1, 0)])
def test_an_impossible_place_is_an_error(rank, ranks, batch):
    with pytest.raises(ValueError, match=f"rank {rank} of {ranks}, batches of {batch}"):
        PatientSampler(10, batch, 0, rank, ranks)


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 2**31))
def test_a_cap_on_images_draws_different_ones_and_spreads_them_evenly_in_evaluation(count, most, seed):
    drawn = draw_images(count, most, generator_of(seed))
    assert len(drawn) == len(set(drawn)) == min(count, most)
    assert set(drawn) <= set(range(count))
    np.testing.assert_array_equal(drawn, draw_images(count, most, generator_of(seed)))
    even = draw_images(count, most, None)
    assert len(even) == len(set(even)) == min(count, most)
    assert even[0] == 0 and (most == 1 or even[-1] == count - 1)
    assert np.ptp(np.diff(even)) <= 1 if len(even) > 1 else True


@pytest.fixture(scope="module")
def module(small_cohort: Path) -> CohortModule:
    cohort = Cohort(small_cohort)
    names = ["pathology", "record"]
    torch.manual_seed(0)
    columns = [column.model_dump() for column in cohort.dictionary.record]
    encoder = MultimodalEncoder({"pathology": Pathology(16, size=32), "record": Record(16, columns)}, 16)
    train = PatientDataset(cohort, list(cohort.patients.index), names)
    return CohortModule(train, train, encoder, batch_size=8, seed=3, modality_dropout=0.3)


def seen(module: CohortModule, workers: int, epochs: int) -> dict[tuple[int, str], list[torch.Tensor]]:
    """By epoch and patient, what the model is shown of them; in order."""
    module.workers = {"num_workers": workers, "prefetch_factor": 2, "pin_memory": False}
    loader = module.train_dataloader()
    found = {}
    for epoch in range(epochs):
        for batch in loader:
            rows = {name: {int(row): n for n, row in enumerate(batch.rows(name))} for name in batch.inputs}
            for index, patient in enumerate(batch.patients):
                found[epoch, patient] = [
                    tensor[rows[name][index]]
                    for name, inputs in sorted(batch.inputs.items())
                    if index in rows[name]
                    for tensor in inputs.values()
                ]
    return found


def test_what_patients_get_does_not_depend_on_workers_and_changes_with_the_epoch(module):
    alone, helped = seen(module, 0, 2), seen(module, 2, 2)
    assert list(alone) == list(helped)
    for key, tensors in alone.items():
        assert len(tensors) == len(helped[key])
        assert all(torch.equal(one, other) for one, other in zip(tensors, helped[key], strict=True))
    both = [patient for epoch, patient in alone if epoch == 0 and (1, patient) in alone]
    changed = [
        patient
        for patient in both
        if not all(
            one.shape == other.shape and torch.equal(one, other)
            for one, other in zip(alone[0, patient], alone[1, patient], strict=False)
        )
    ]
    assert len(changed) > len(both) / 2


def test_batches_go_on_after_any_of_them_and_over_the_ends_of_epochs(module):
    whole = [patient for _, patient in seen(module, 0, 3)]
    steps = len(module.train_dataloader())
    for step in (1, steps, steps + 2):
        killed = iter_steps(module.train_dataloader(), step)
        resumed = module.train_dataloader()
        resumed.load_state_dict(killed)
        found = [patient for _ in range(3 - step // steps) for batch in resumed for patient in batch.patients]
        assert found[: 8 * steps] == whole[8 * step :][: 8 * steps]


def iter_steps(loader: PatientLoader, steps: int) -> dict[str, int]:
    """The position after some steps, batches lying prepared beyond it."""
    while True:
        for _ in loader:
            steps -= 1
            if not steps:
                return loader.state_dict()


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_data_are_one_line_whoever_reads_them(module, small_cohort, tmp_path, workers):
    shutil.copytree(small_cohort, tmp_path / "cohort")
    shard = tmp_path / "cohort" / "summit" / "pathology-00000.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:-100_000] + b"x" * 90_000 + content[-10_000:])
    cohort = Cohort(tmp_path / "cohort", ["summit"])
    dataset = PatientDataset(cohort, list(cohort.patients.index), ["pathology"])
    loader = CohortModule(dataset, dataset, module.encoder, batch_size=4, num_workers=workers).train_dataloader()
    before = active_children()
    with pytest.raises(
        UserError, match=r"^\S+summit/pathology\.json: row \d+, field data: bytes differ from th.* again$"
    ):
        list(loader)
    assert set(active_children()) <= set(before), "its workers ended with it"


def test_batches_that_are_let_go_of_on_the_thread_that_prepares_them_end_there():
    handed_out, ended = threading.Event(), threading.Event()

    def batches() -> Iterator[int]:
        yield 0
        handed_out.wait(60)
        ahead.close()
        ended.set()

    ahead = _one_ahead(batches())
    assert next(ahead) == 0
    handed_out.set()
    assert ended.wait(60)


def test_only_the_images_drawn_are_read(module, monkeypatch):
    asked = []
    for store in ("riverside", "northgate", "summit"):
        opened = module.train.cohort._files[store].store("pathology")
        monkeypatch.setattr(opened, "rows", lambda rows, read=opened.rows: asked.append(len(rows)) or read(rows))
    module.encoder.modalities["pathology"].max_images, kept = 2, module.encoder.modalities["pathology"].max_images
    loaders = DataLoader(module.train, 8, collate_fn=Collate(module.encoder, False, 0)), module.train_dataloader()
    for loader in loaders:
        for _ in loader:
            pass
    module.encoder.modalities["pathology"].max_images = kept
    assert set(asked) == {2}, "each patient has four"


def test_a_sigterm_to_all_processes_of_a_run_takes_no_batches_from_it(module):
    module.workers["num_workers"] = 2
    loader = module.train_dataloader()
    begin = loader.worker_init_fn
    loader.worker_init_fn = lambda worker: (time.sleep(2 * worker), begin(worker))  # the second one is still starting
    batches = iter(loader)
    first = next(batches)
    for worker in loader._iterator._workers:
        os.kill(worker.pid, signal.SIGTERM)
    after = [patient for batch in batches for patient in batch.patients]
    module.workers["num_workers"] = 0
    assert [*first.patients, *after] == [patient for batch in module.train_dataloader() for patient in batch.patients]
