"""A modality that comes later: its encoder alone learns, and all others stay as they are, bit by bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.arrays import write_arrays
from foundation.command import plain
from foundation.data.cohort import Cohort
from foundation.errors import UserError
from foundation.federation.groups import group_of
from foundation.federation.runtime.continuing import place_earlier
from foundation.federation.site.round import run_round
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import to_weights
from foundation.files import write_json
from pretrain.federated.settings import PretrainingSettings
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module

OTHERS = {"pathology", "genomics", "report", "record", "fusion", "objective:masked_genes"}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, to be filled with weights."""
    return tmp_path_factory.mktemp("earlier")


def finish(folder: Path, module: torch.nn.Module) -> None:
    write_arrays(folder / "rounds/round_0001.safetensors", to_weights(module.state_dict()))
    write_json(folder / "history.json", {"rounds": [{"round": 1}]})


def test_a_grafted_tower_learns_and_nothing_else_moves(configure, small_cohort: Path, earlier: Path) -> None:
    before = build_module(configure("~modality.radiology", "seed=5", command="federated"), None, 0, 1)
    finish(earlier, before)
    cfg = configure("graft=[radiology]", command="federated")
    module = build_module(cfg, None, 0, 1)
    place_earlier(module, str(earlier), (), ("radiology",))
    weights = to_weights(module.state_dict())
    assert all(np.array_equal(value, weights[name]) for name, value in to_weights(before.state_dict()).items())
    options = RoundOptions(str(earlier / "scratch"), start_step=0, steps=3, total_steps=3)
    result = run_round(Pretraining(cfg, "riverside"), options, RoundArrays(weights, {}))
    moved = {group_of(name) for name, value in result.weights.items() if not np.array_equal(value, weights[name])}
    assert moved == {"radiology", "objective:alignment"}
    assert set(result.samples) == {"radiology", "objective:alignment"} and not OTHERS & set(result.samples)
    _same_embeddings(before, module, result.weights, small_cohort)


def _same_embeddings(before, module, trained, folder: Path) -> None:
    """Of patients without the modality, before and after."""
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in trained.items()})
    cohort = Cohort(folder)
    some = list(cohort.patients.index[:8])
    samples = [{k: v for k, v in cohort.sample(one).items() if k != "radiology"} for one in some]
    samples = [sample for sample in samples if sample]
    with torch.no_grad():
        one, other = (each.encoder.eval()(each.encoder.encode_samples(samples)).fused for each in (before, module))
    assert torch.equal(one, other)


def test_a_tower_that_is_not_named_is_refused_and_so_is_one_that_went(configure, earlier: Path) -> None:
    without = build_module(configure("~modality.radiology", command="federated"), None, 0, 1)
    whole = build_module(configure(command="federated"), None, 0, 1)
    finish(earlier, without)
    with pytest.raises(UserError, match=r"continues: .* has no .*radiology.*; a modality that comes later is named by"):
        place_earlier(whole, str(earlier), ())
    finish(earlier, whole)
    with pytest.raises(UserError, match="which this model has not; go on with all it had"):
        place_earlier(without, str(earlier), ())


def test_a_plan_asks_for_a_graft_and_says_so(configure) -> None:
    settings = PretrainingSettings.of(configure("graft=[radiology]", command="federated"))
    assert any("these alone learn, all others stay as they are: radiology" in line for line in settings.lines())
    content = plain(configure(command="federated"))
    settings.apply(content)
    assert content["graft"] == ["radiology"]
    assert "graft" not in PretrainingSettings.of(configure(command="federated")).values()
    with pytest.raises(UserError, match="names a modality or an objective that the plan does not describe"):
        PretrainingSettings.of(configure("graft=[sonar]", command="federated"))
