"""Masks known on the host: a training step asks the device for no number."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from foundation.batch import Batch
from foundation.masks import laid_out, on_host, real, rows_of, to_device, true_cells
from foundation.objectives.alignment import Alignment
from foundation.objectives.masked_genes import MaskedGenes

WAITING = {"_local_scalar_dense", "nonzero", "bincount", "masked_select", "unique", "_unique2", "repeat_interleave"}


class Device(TorchDispatchMode):
    """Takes some tensors, and whatever is computed from them, for those of a GPU, and notes what would wait for it."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.there = WeakTensorKeyDictionary()
        self.waits: list[str] = []
        for tensor in tensors:
            self.there[tensor] = True

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), more: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((arguments, more or {})) if isinstance(leaf, torch.Tensor)]
        there = any(tensor in self.there for tensor in tensors)
        name = function.__name__.split(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(t.dtype == torch.bool for t in tensors[1:])
        if there and (name in WAITING or by_mask):
            self.waits.append(name)
        result = function(*arguments, **(more or {}))
        for leaf in tree_leaves(result):
            if there and isinstance(leaf, torch.Tensor):
                self.there[leaf] = True
        return result


def as_on_a_device(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """The batch as `Batch.to` leaves it, with copies in place of those on a GPU."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: tensor.clone())
        return batch.to(torch.device("cuda"))


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    return [value for named in (batch.present, *batch.inputs.values()) for value in named.values()]


def test_real_cells_are_those_of_the_mask_and_come_back_to_their_places():
    mask = torch.rand(5, 7) < 0.5
    values = torch.randn(5, 7, 3)
    assert torch.equal(real(values, mask), values[mask])
    assert torch.equal(values.flatten(0, 1)[true_cells(mask)], values[mask])
    assert torch.equal(laid_out(real(values, mask), mask), values * mask[..., None])
    nobody = torch.zeros(2, 3, dtype=torch.bool)
    assert real(torch.ones(2, 3, 4), nobody).shape == (0, 4)


def test_a_mask_on_a_device_remembers_itself_on_the_host(monkeypatch):
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    assert to_device(mask, torch.device("cpu")) is mask, "on one device there is one mask"
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: tensor.clone())
    moved = to_device(mask, torch.device("cuda"))
    assert moved is not mask and on_host(moved) is mask
    assert torch.equal(on_host(rows_of(moved, slice(1, 3))), mask[1:3])
    assert on_host(to_device(moved, torch.device("cuda", 1))) is mask


def test_a_batch_taken_apart_on_a_device_is_known_on_the_host(encoder, samples, monkeypatch):
    batch = encoder.encode_samples(samples)
    there = as_on_a_device(batch, monkeypatch)
    device = Device(tensors_of(there))
    with device:
        parts = there.split(2)
    assert not device.waits
    for part, plain in zip(parts, batch.split(2), strict=True):
        for name, inputs in plain.inputs.items():
            for key, value in inputs.items():
                torch.testing.assert_close(part.inputs[name][key], value, rtol=0, atol=0, equal_nan=True)
                if value.dtype == torch.bool:
                    assert torch.equal(on_host(part.inputs[name][key]), value)


@pytest.mark.parametrize("at_once", [None, 2])
def test_a_step_asks_the_device_for_no_number(encoder, samples, monkeypatch, at_once):
    encoder.train()
    encoder.patients_at_once = at_once
    objectives = torch.nn.ModuleList([Alignment(32), MaskedGenes(32)])
    generators = [torch.Generator().manual_seed(index) for index in range(8)]
    batch = as_on_a_device(encoder.encode_samples(samples * 2, generators=generators), monkeypatch)
    device = Device([*tensors_of(batch), *encoder.parameters(), *encoder.buffers(), *objectives.parameters()])
    with device:
        output = encoder(batch)
        terms = [objective(encoder, output, batch) for objective in objectives]
        torch.stack([term.loss for term in terms]).sum().backward()
    assert all(term.samples for term in terms)
    assert not device.waits


def test_the_tensor_mode_notices_what_waits():
    values = torch.randn(4)
    with (device := Device([values])):
        values[values > 0]
        float(values.sum())
        values.nonzero()
        torch.ones(3)[torch.tensor([True, False, True])]
    assert device.waits == ["index", "_local_scalar_dense", "nonzero"]
