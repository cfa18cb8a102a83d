import itertools
import json

import numpy as np
import pytest
import torch

from finetune.experts.module import Experts
from finetune.experts.responses import Hazard, Label
from finetune.heads.classification import Classification
from foundation.errors import UserError

BLOCKS = {"image": 30, "genes": 300, "record": 3}


@pytest.fixture(scope="module")
def patients() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of 240 patients at six hospitals; any block may be missing, and a cell of it."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=240).astype(float)
    blocks = []
    for size, strength in zip(BLOCKS.values(), (0.3, 0.3, 1.0), strict=True):
        values = rng.normal(size=(240, size))
        values[:, : min(size, 8)] += strength * (2 * label[:, None] - 1)
        values[rng.random(values.shape) < 0.05] = np.nan
        values[rng.random(240) < 0.3] = np.nan
        blocks.append(values)
    blocks[2][np.isnan(np.concatenate(blocks, axis=1)).all(axis=1)] = 0.0
    return np.concatenate(blocks, axis=1), label, [f"h{index % 6}" for index in range(240)]


@pytest.fixture(scope="module")
def fitted(patients: tuple[np.ndarray, np.ndarray, list[str]]) -> tuple[Experts, np.ndarray]:
    features, label, hospitals = patients
    experts = Experts(BLOCKS, 1)
    return experts, experts.fit(features, [Label(label)], hospitals).scores().numpy()


def scores(experts: Experts, features: np.ndarray) -> np.ndarray:
    return experts(torch.from_numpy(features).float()).numpy()[:, 0]


def only(features: np.ndarray, *names: str) -> np.ndarray:
    shown, start = np.full_like(features, np.nan), 0
    for name, size in BLOCKS.items():
        if name in names:
            shown[:, start : start + size] = features[:, start : start + size]
        start += size
    return shown


def area(label: np.ndarray, score: np.ndarray) -> float:
    return float((score[label == 1][:, None] > score[label == 0][None]).mean())


def test_more_modalities_rank_patients_better_left_out(patients, fitted):
    _, label, _ = patients
    assert area(label, fitted[1][:, 0]) > 0.9


def test_a_single_block_ranks_as_its_own_expert(patients, fitted):
    features, label, _ = patients
    experts, _ = fitted
    image = only(features, "image")
    who = ~np.isnan(image).all(axis=1)
    linear = np.nan_to_num(np.clip((features[:, :30] - experts.mean[:30].numpy()) / experts.scale[:30].numpy(), -4, 4))
    alone = linear @ experts.weight[:30, 0].numpy()
    order = np.argsort(alone[who])
    assert (np.diff(scores(experts, image)[who][order]) >= -1e-5).all()
    assert area(label[who], scores(experts, image)[who]) > 0.8


def test_patients_of_a_batch_do_not_change_each_other(patients, fitted):
    features, _, _ = patients
    together = scores(fitted[0], features)
    np.testing.assert_allclose([scores(fitted[0], row[None])[0] for row in features[:20]], together[:20], atol=1e-5)


def test_weights_come_back_from_their_state(patients, fitted):
    features, _, _ = patients
    again = Experts(BLOCKS, 1)
    again.load_state_dict(fitted[0].state_dict())
    np.testing.assert_array_equal(scores(again, features), scores(fitted[0], features))


def test_probabilities_of_every_subset_agree_with_what_happened(patients, fitted):
    features, label, _ = patients
    for names in itertools.chain(*(itertools.combinations(BLOCKS, count) for count in (1, 2, 3))):
        shown = only(features, *names)
        who = ~np.isnan(shown).all(axis=1)
        chance = 1 / (1 + np.exp(-scores(fitted[0], shown)[who]))
        assert abs(chance.mean() - label[who].mean()) < 0.05


def test_a_block_that_nobody_has_weighs_nothing(patients):
    features, label, hospitals = patients
    hidden = only(features, "image", "genes")
    who = ~np.isnan(hidden).all(axis=1)
    experts = Experts(BLOCKS, 1)
    experts.fit(hidden[who], [Label(label[who])], [name for name, here in zip(hospitals, who, strict=True) if here])
    np.testing.assert_array_equal(scores(experts, hidden[who]), scores(experts, features[who]))


def test_hazards_expect_as_many_events_in_every_subset_as_were_seen(patients):
    features, label, hospitals = patients
    rng = np.random.default_rng(3)
    time = np.ceil(rng.exponential(np.exp(-1.5 * label)) * 300)
    event = (rng.random(240) < 0.8).astype(float)
    experts = Experts(BLOCKS, 1)
    left_out = experts.fit(features, [Hazard(event, time)], hospitals).scores().numpy()[:, 0]
    hazard = Hazard(event, time).exposure(left_out)
    for names in (("image",), ("genes",), ("image", "genes", "record")):
        shown = only(features, *names)
        who = ~np.isnan(shown).all(axis=1)
        expected = (hazard[who] * np.exp(scores(experts, shown)[who])).sum()
        assert expected == pytest.approx(event[who].sum(), rel=0.25)


def test_too_many_blocks_are_refused():
    with pytest.raises(UserError, match="13 blocks of features; experts take 12 at most"):
        Experts({f"b{index}": 1 for index in range(13)}, 1)


def test_a_saved_head_reads_blocks_in_their_order_though_json_sorts_keys(patients):
    features, label, hospitals = patients
    head = Classification(8, "label", blocks=BLOCKS).eval()
    head.fit_experts(features, {"label": label}, hospitals)
    again = Classification(**json.loads(json.dumps(head.settings(), sort_keys=True))).eval()
    again.load_state_dict(head.state_dict())
    assert list(again.blocks) == list(BLOCKS) == ["image", "genes", "record"] != sorted(BLOCKS)
    values = torch.from_numpy(features).float()
    torch.testing.assert_close(again(values), head(values), rtol=0, atol=0)
