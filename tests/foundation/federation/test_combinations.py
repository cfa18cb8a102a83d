"""The protections as shipped: each combination of strategy, noise, masks and policy runs a round, or says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from foundation.errors import UserError
from foundation.federation.ledger.files import load
from foundation.federation.policy.contract import TEMPLATE
from foundation.federation.runtime.run import run
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.weights.module import to_weights
from tests.foundation.federation.linear_task import TARGET, LinearTask, linear_config

ROOT = Path(__file__).parents[3]
SITES = ("riverside", "northgate", "lakeview")
STRATEGIES = sorted(path.stem for path in (ROOT / "configs" / "strategy").glob("*.yaml"))
NOISE = ("none", "central", "central_adaptive", "distributed", "local")
FEW = {"training": 12, "batch": 16, "unprotected": 12, "metrics": 2, "cell": 2}  # of the small cohort's hospitals
POLICIES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "masks": {"privacy": {"secure_aggregation": True, "min_sites": 3}},
    "noise": {"privacy": {"site_dp": {"min_noise_multiplier": 0.5, "max_clip": 1.0}}},
    "budget": {"budget": {"epsilon": 8, "delta": 1e-4}},
    "budget that trusts the server": {"budget": {"epsilon": 8, "delta": 1e-4}, "privacy": {"server_noise": True}},
}


def group(name: str, choice: str) -> dict[str, Any]:
    """An option of a config group, with those that it builds on."""
    content = yaml.safe_load((ROOT / "configs" / name / f"{choice}.yaml").read_text())
    for base in content.pop("defaults", []):
        if base != "_self_":
            content = {**group(name, base), **content}
    return dict(content)


def configured(cohort: Path, output: Path, strategy: str, noise: str, masks: bool, **more: Any) -> DictConfig:
    chosen = {"strategy": group("strategy", strategy), "privacy": group("privacy", noise)}
    if strategy in ("fedbn", "site_temperature"):  # name parts that this model has not
        chosen["strategy"] = {**chosen["strategy"], "local": ["line.bias"]}
    secure = group("secure", "secagg_plus") if masks else None
    return linear_config(
        cohort, output, SITES, rounds=1, statistics=[], quorum=1.0, compare=[], secure=secure, **chosen, **more
    )


def a_round(cfg: DictConfig, policy: str) -> dict[str, np.ndarray]:
    """The weights after one round, under the shipped template with some rules changed."""
    output = Path(cfg.output)
    rules = yaml.safe_load(TEMPLATE.read_text()) | {"approval": "rules", "tasks": ["linear", "evaluate"]}
    rules |= {"targets": [TARGET], "patients": FEW} | POLICIES[policy]
    for site in SITES:
        home = output / "sites" / site
        home.mkdir(parents=True)
        (home / "site.yaml").write_text(f"name: {site}\npolicy: policy.yaml\n")
        (home / "policy.yaml").write_text(yaml.safe_dump(rules))
    module = LinearTask(cfg).build()
    checkpoints = Checkpoints(output, "d" * 64)
    checkpoints.begin(to_weights(module.state_dict()))
    after = {name: np.array(value) for name, value in run(cfg, checkpoints).items()}
    for site in SITES:
        chain = load(output / "sites" / site / "ledger.jsonl")
        assert chain.problems == [] and "update" in [entry.kind for entry in chain.entries]
    return after


def refusal(strategy: str, noise: str, masks: bool, policy: str) -> str | None:
    """What says why a combination cannot be, as far as it is known beforehand."""
    single = strategy in ("scaffold", "cyclic", "krum", "multikrum", "median", "trimmed_mean")
    if masks and single:
        return "needs each site's own update"
    if strategy == "scaffold" and noise != "none":
        return "sends control variates, which privacy does not cover"
    if noise == "distributed" and not masks:
        return "shares of noise protect the sum alone"
    if masks and noise == "central_adaptive":
        return "an adaptive clip counts sites, which secure aggregation hides"
    if single and strategy != "scaffold" and noise in ("central", "central_adaptive", "distributed"):
        return "set privacy.place=site"
    if policy == "masks" and not masks:
        return "privacy.secure_aggregation: required here"
    if policy == "noise" and noise in ("none", "central", "central_adaptive"):
        return "privacy.site_dp: required here, and the run does without"
    if policy.startswith("budget") and noise == "none":
        return "budget: this site counts differential privacy, and the run cannot say what it spends"
    if policy == "budget" and noise in ("central", "central_adaptive"):
        return "privacy.server_noise: the noise is the server's to add"
    return None


def holds(cohort: Path, output: Path, strategy: str, noise: str, masks: bool, policy: str) -> None:
    expected = refusal(strategy, noise, masks, policy)
    cfg = configured(cohort, output, strategy, noise, masks)
    OmegaConf.resolve(cfg)
    if expected is None:
        assert all(np.isfinite(value).all() for value in a_round(cfg, policy).values())
    else:
        with pytest.raises(UserError, match=expected) as error:
            a_round(cfg, policy)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("noise", "masks", "policy"),
    [
        ("central", False, "as shipped"),
        ("local", False, "noise"),
        ("distributed", True, "masks"),
        ("central", True, "masks"),
        ("local", False, "budget"),
        ("central", False, "budget"),
        ("central", True, "budget that trusts the server"),
        ("none", False, "masks"),
        ("central", False, "noise"),
        ("none", False, "budget"),
    ],
)
def test_noise_and_masks_under_a_policy(small_cohort: Path, tmp_path: Path, noise: str, masks: bool, policy: str):
    holds(small_cohort, tmp_path / "run", "fedavg", noise, masks, policy)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("masks", [False, True], ids=["open", "masked"])
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_combination(small_cohort, tmp_path, strategy: str, noise: str, masks: bool, policy: str):
    holds(small_cohort, tmp_path / "run", strategy, noise, masks, policy)
