"""A site's round: in this process and as a job, from state to state, whole or partial, and how it fails."""

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.numpy import load_file

from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.site import round as site_round
from foundation.federation.site.launch import processes_of
from foundation.federation.site.round import run_round
from foundation.federation.site.state import SiteState, local_of
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import frozen_digests, place, to_weights, travelling
from foundation.federation.weights.types import Weights
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module, fit_round

STEPS = 3
LOCAL = ["encoder.modalities.*.backbone.*bn*", "objectives.alignment.log_scale"]


def differ(one: Weights, other: Weights) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


def seed_weights(cfg) -> Weights:
    return to_weights(build_module(cfg, None, 0, 1).state_dict())


def a_round(cfg, weights, tmp_path: Path, number: int = 1, rounds: int = 2, **more):
    start = (number - 1) * STEPS
    numbers = {"start_step": start, "steps": STEPS, "total_steps": rounds * STEPS}
    task = Pretraining(cfg, more.pop("hospital", "riverside"))
    arrays = RoundArrays(weights, more.pop("control", {}))
    return run_round(task, RoundOptions(str(tmp_path / "scratch"), **numbers, **more), arrays)


def test_a_round_is_the_ordinary_training(configure, tmp_path):
    cfg = configure()
    weights = seed_weights(cfg)
    found = a_round(cfg, weights, tmp_path)
    plain = fit_round(cfg, ["riverside"], weights, tmp_path / "plain", STEPS, 0, 2 * STEPS)
    assert differ(found.weights, plain.weights) == []
    assert (found.samples, found.metrics) == (plain.samples, plain.metrics)
    assert (found.control, found.frozen) == ({}, {})
    assert not list((tmp_path / "scratch").rglob("*.ckpt")), "the server keeps a round's weights"


@pytest.mark.parametrize(("kind", "batch", "batches"), [("adamw", 8, 1), ("sgd", 8, 1), ("adamw", 6, 2)])
def test_two_rounds_with_a_kept_optimiser_are_one_uninterrupted_run(configure, tmp_path, kind, batch, batches):
    # 20 patients in batches of 8 or 6, so epochs end within rounds and rounds within epochs, also where the gradients
    # of two batches add up to a step; modalities are dropped and dropout draws.
    more = [f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={batches}"]
    more += [f"optimizer.kind={kind}", "optimizer.momentum=0.9", "data.modality_dropout=0.3", "checkpoint_every=99"]
    cfg = configure(*more, f"optimizer.fused={str(kind == 'adamw').lower()}")
    weights = seed_weights(cfg)
    whole = fit_round(cfg, ["riverside"], weights, tmp_path / "whole", 4 * STEPS, 0, 4 * STEPS)
    samples: dict[str, int] = {}
    fresh = {}
    for number in range(1, 5):
        kept = a_round(cfg, weights, tmp_path, number, 4, state=str(tmp_path / "state"), keep_optimizer=True)
        if number == 2:
            fresh = a_round(cfg, weights, tmp_path, number, 4).weights
            assert differ(fresh, kept.weights), "a fresh optimiser steps elsewhere"
        weights = kept.weights
        samples = {name: samples.get(name, 0) + count for name, count in kept.samples.items()}
    assert differ(weights, whole.weights) == []
    assert samples == whole.samples
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["step_000000009", "step_000000012"]


def test_a_round_ordered_again_gives_the_same_and_a_missed_one_is_passed_over(configure, tmp_path):
    cfg = configure()
    own = {"state": str(tmp_path / "state"), "keep_optimizer": True}
    first = a_round(cfg, seed_weights(cfg), tmp_path, 1, 5, **own)
    second = a_round(cfg, first.weights, tmp_path, 2, 5, **own)
    again = a_round(cfg, first.weights, tmp_path, 2, 5, **own)
    assert differ(second.weights, again.weights) == []
    a_round(cfg, second.weights, tmp_path, 4, 5, **own)
    facts = json.loads((tmp_path / "state" / "step_000000012" / "optimizer" / "training.json").read_text())
    assert facts["batches"] == 3 * STEPS, "three rounds were trained here, of four"
    state = SiteState(tmp_path / "state", Pretraining(cfg).state_digest)
    assert [state.at(step) and state.at(step).name for step in (0, 6, 11, 12)] == [
        None,
        "step_000000006",
        "step_000000006",
        "step_000000012",
    ]


def test_a_round_that_fails_leaves_the_state_as_it_was(configure, tmp_path, monkeypatch):
    cfg = configure()
    own = {"state": str(tmp_path / "state"), "keep_optimizer": True}
    first = a_round(cfg, seed_weights(cfg), tmp_path, 1, **own)
    before = {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(site_round, "write_site_state", full)
        with pytest.raises(UserError, match=r"^site riverside: round not kept: .*No space left on device; free"):
            a_round(cfg, first.weights, tmp_path, 2, **own)
    kept = {path: path.read_bytes() for path in (tmp_path / "state").rglob("step_*/**/*") if path.is_file()}
    assert kept == before


def test_the_state_of_another_run_or_optimiser_is_refused(configure, tmp_path):
    cfg = configure()
    own = {"state": str(tmp_path / "state"), "keep_optimizer": True}
    first = a_round(cfg, seed_weights(cfg), tmp_path, 1, **own)
    other = configure("seed=3")
    with pytest.raises(UserError, match=r"step_000000003: kept by a run with another model, optimiser or seed"):
        a_round(other, first.weights, tmp_path, 2, **own)
    path = tmp_path / "state" / "step_000000003" / "optimizer" / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layout": "DeepSpeed ZeRO-3 on 2 processes"}))
    with pytest.raises(UserError, match=r"was kept by DeepSpeed ZeRO-3 on 2 processes, .* whole parameters with AdamW"):
        a_round(cfg, first.weights, tmp_path, 2, **own)
    (path.parent / "rank_0.safetensors").write_bytes(b"no")
    path.write_text(path.read_text().replace("DeepSpeed ZeRO-3 on 2 processes", "whole parameters with AdamW"))
    with pytest.raises(UserError, match=r"rank_0\.safetensors: not readable .* fresh optimiser"):
        a_round(cfg, first.weights, tmp_path, 2, **own)


def test_what_needs_a_state_folder_says_so(configure, tmp_path):
    cfg = configure()
    for asked in ({"keep_optimizer": True}, {"local": LOCAL}, {"scaffold": True}):
        with pytest.raises(UserError, match=r"^site: \w+ needs a state folder"):
            a_round(cfg, {}, tmp_path, **asked)
    with pytest.raises(UserError, match=r"^ema: "):
        Pretraining(configure("ema=0.9", "+keep_optimizer=true"))


def test_scaffold_control_variates_add_up_and_stay_at_the_site(configure, tmp_path):
    cfg = configure("optimizer.kind=sgd", "optimizer.fused=false", "optimizer.weight_decay=0")
    weights = seed_weights(cfg)
    own = {"state": str(tmp_path / "state"), "hospital": "northgate"}
    first = a_round(cfg, weights, tmp_path, 1, scaffold=True, **own)
    plain = a_round(cfg, weights, tmp_path, 1, hospital="northgate")
    assert differ(first.weights, plain.weights) == [], "with c = c_i = 0 the first round is FedAvg's"
    learning = {name for name, _ in build_module(cfg, None, 0, 1).named_parameters()}
    assert first.control.keys() == {name for name in learning if group_of(name) in first.samples}
    held = load_file(tmp_path / "state" / "step_000000003" / "control.safetensors")
    assert differ(held, first.control) == []
    # The only site: c = c_i, so nothing is corrected in the second round either.
    second = a_round(cfg, first.weights, tmp_path, 2, scaffold=True, control=first.control, **own)
    again = a_round(cfg, first.weights, tmp_path, 2, hospital="northgate")
    assert differ(second.weights, again.weights) == []
    held = load_file(tmp_path / "state" / "step_000000006" / "control.safetensors")
    for name, value in second.control.items():
        np.testing.assert_allclose(held[name], first.control.get(name, 0) + value, rtol=1e-6)
    # Another server control does turn it.
    other = {name: value + 1 for name, value in first.control.items()}
    turned = a_round(cfg, first.weights, tmp_path, 2, scaffold=True, control=other, **own)
    assert differ(turned.weights, second.weights)


def test_a_group_that_nobody_taught_comes_back_as_it_was_sent(configure, tmp_path):
    cfg = configure()
    weights = seed_weights(cfg)
    # Whoever has one modality alone moves its statistics without teaching it.
    found = a_round(cfg, weights, tmp_path, hospital="lakeview", proximal=0.1)
    for name in weights:
        if group_of(name) not in found.samples:
            np.testing.assert_array_equal(found.weights[name], weights[name], err_msg=name)
    assert {"pathology", "radiology"} & found.samples.keys() == set()


def test_local_parts_stay_and_are_put_back(configure, tmp_path):
    cfg = configure()
    weights = seed_weights(cfg)
    own = {"state": str(tmp_path / "state"), "local": LOCAL}
    first = a_round(cfg, weights, tmp_path, 1, **own)
    stays = weights.keys() - first.weights.keys()
    assert stays == {name for name in weights if ".backbone." in name and "bn" in name} | {LOCAL[1]}
    held = local_of(SiteState(tmp_path / "state", Pretraining(cfg).state_digest).at(STEPS))
    assert held.keys() == stays
    plain = a_round(cfg, weights, tmp_path, 1)
    assert differ({**first.weights, **held}, plain.weights) == []
    # The second round begins from its own parts, whatever else was sent.
    second = a_round(cfg, {**weights, **first.weights}, tmp_path, 2, **own)
    expected = a_round(cfg, plain.weights, tmp_path, 2)
    kept = local_of(SiteState(tmp_path / "state", Pretraining(cfg).state_digest).at(2 * STEPS))
    assert differ({**second.weights, **kept}, expected.weights) == []


@pytest.mark.parametrize("tune", ["frozen", "lora"])
def test_frozen_weights_never_travel_and_sites_are_held_to_the_same(configure, tmp_path, tune):
    cfg = configure(f"modality.pathology.tune={tune}")
    module = build_module(cfg, None, 0, 1)
    names = travelling(module)
    stays = module.state_dict().keys() - names
    assert stays and all(name.startswith("encoder.modalities.pathology.backbone.") for name in stays)
    parameters = dict(module.named_parameters())
    assert not any(parameters[name].requires_grad for name in stays if name in parameters)
    # The statistics beneath adapters move, those of a frozen backbone do not.
    assert any("running_mean" in name for name in stays) == (tune == "frozen")
    assert any("lora_A" in name for name in names) == (tune == "lora")
    state = to_weights(module.state_dict())
    sent = {name: state[name] for name in names}
    digests = frozen_digests(module)
    assert digests.keys() == {"pathology"}
    found = a_round(cfg, sent, tmp_path, frozen=digests)
    assert found.weights.keys() == names
    assert found.frozen == digests
    with pytest.raises(UserError, match=r"^modality\.pathology: frozen weights here have digest .* the same file"):
        a_round(configure(f"modality.pathology.tune={tune}", "seed=1"), sent, tmp_path, frozen=digests)
    with pytest.raises(UserError, match=r"^modality\.pathology: .* digest none, the run's"):
        a_round(configure(), seed_weights(configure()), tmp_path, frozen=digests)


def test_frozen_weights_stand_still(configure, tmp_path):
    cfg = configure("modality.pathology.tune=frozen")
    module = build_module(cfg, None, 0, 1)
    before = frozen_digests(module)
    fit_round(cfg, ["riverside"], None, tmp_path, STEPS, 0, STEPS, module=module)
    assert frozen_digests(module) == before


def test_weights_that_do_not_fit_are_one_line(configure):
    cfg = configure()
    module = build_module(cfg, None, 0, 1)
    weights = seed_weights(cfg)
    name = "encoder.fusion.patient"
    with pytest.raises(UserError, match=rf"^weights: those of the round lack {name}; site and server"):
        place(module, {key: value for key, value in weights.items() if key != name}, {})
    with pytest.raises(UserError, match=r"^weights: those of the round hold x, which this model has not"):
        place(module, {**weights, "x": weights[name]}, {})
    with pytest.raises(UserError, match=rf"^weights: {name} has shape \(3,\), this model's \(64,\)"):
        place(module, {**weights, name: np.zeros(3, np.float32)}, {})


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"accelerator": "cpu", "devices": 1}, 0),
        ({"accelerator": "cpu"}, 0),
        ({"accelerator": "cpu", "devices": 2, "strategy": "ddp"}, 2),
        ({"accelerator": "cpu", "devices": "2"}, 2),
        ({"accelerator": "gpu", "devices": [0, 3]}, 2),
        ({"accelerator": "gpu", "devices": "0,1,5"}, 3),
        ({"accelerator": "cpu", "devices": 1, "strategy": {"_target_": "x", "stage": 2}}, 1),
    ],
)
def test_a_trainer_that_wants_several_processes_gets_a_job(trainer, expected):
    assert processes_of(OmegaConf.create(trainer)) == expected


def test_several_machines_and_odd_devices_are_refused():
    with pytest.raises(UserError, match=r"^trainer\.num_nodes: found 2; a site's round runs on one machine"):
        processes_of(OmegaConf.create({"num_nodes": 2}))
    with pytest.raises(UserError, match=r"^trainer\.devices: found 0"):
        processes_of(OmegaConf.create({"devices": 0, "accelerator": "cpu"}))


def test_a_round_in_this_process_ends_when_its_time_is_up(configure, tmp_path):
    cfg = configure()
    with pytest.raises(UserError, match=r"^round: 1 of 3 steps in 0 s; allow more time or fewer steps$"):
        a_round(cfg, seed_weights(cfg), tmp_path, seconds=0)
