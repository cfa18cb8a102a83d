"""The bank in a run: what a site releases, what never leaves it, and that training reads it."""

from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.federation.site.round import run_round
from foundation.federation.site.state import SiteState, local_of
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import local_names, to_weights
from foundation.federation.weights.update import SiteUpdate, difference
from foundation.objectives.alignment import Alignment
from pretrain.embedding import embed
from pretrain.federated.bank import embeddings as bank_module
from pretrain.federated.bank.embeddings import (
    check_run,
    fill,
    release,
)
from pretrain.federated.bank.rows import check_rows, for_site
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module, fit_round
from tests.pretrain.federated.bank_settings import chosen

# With the real encoder and cohort.


def test_a_site_releases_its_train_patients_seen_with_the_weights_that_were_sent(configure):
    cfg = configure("seed=3")
    sent = to_weights(build_module(configure("seed=4"), None, 0, 1).state_dict())
    found = release(cfg, "riverside", sent, chosen(), np.random.default_rng(0))
    module = build_module(cfg, sent, 0, 1)
    cohort, parts = bank_module.load_cohort(cfg, ["riverside"])
    train, validation = bank_module.datasets(cfg, cohort, parts, list(module.encoder.modalities))
    own, others = (embed(module.encoder, part).embeddings["genomics"].numpy() for part in (train, validation))
    assert len(found["genomics"]) == len(own) and len(others) > 0
    assert (found["genomics"] @ own.T).max(axis=1).min() == pytest.approx(1, abs=1e-4)
    check_rows(found, chosen(), "riverside", module.encoder.width)


def test_what_stays_at_a_site_may_not_shape_what_leaves(configure):
    cfg = configure()
    sent = to_weights(build_module(cfg, None, 0, 1).state_dict())
    allowed = ("objectives.*.log_scale",)
    assert release(cfg, "riverside", sent, chosen(), np.random.default_rng(0), allowed)
    for pattern in ("encoder.modalities.genomics.*", "batch_norm", "buffers", "group:fusion"):
        with pytest.raises(UserError, match="stays at the site, so its embeddings cannot be protected"):
            release(cfg, "riverside", sent, chosen(), np.random.default_rng(0), (pattern,))


def test_a_bank_reaches_the_objectives_that_compare_and_changes_training(configure, tmp_path: Path):
    cfg = configure("steps=2", "validate_every=0", "monitor_every=0")
    module = build_module(cfg, None, 0, 2)
    sent = to_weights(module.state_dict())
    rows = release(cfg, "lakeview", sent, chosen(modalities=("genomics",)), np.random.default_rng(0))
    fill(module, for_site({"lakeview": rows}, "riverside"))
    assert list(to_weights(module.state_dict())) == list(sent)
    with_bank = fit_round(cfg, ["riverside"], None, tmp_path / "a", 2, 0, 2, module=module)
    without = fit_round(cfg, ["riverside"], sent, tmp_path / "b", 2, 0, 2)
    assert with_bank.samples == without.samples
    name = "encoder.modalities.pathology.to_width.1.weight"
    assert not np.array_equal(with_bank.weights[name], without.weights[name])
    assert with_bank.metrics["train/alignment"] > without.metrics["train/alignment"]


def test_a_run_without_alignment_has_no_use_for_a_bank(configure):
    module = build_module(configure("~objective.alignment"), None, 0, 1)
    with pytest.raises(UserError, match="bank: no objective of this run compares modalities"):
        fill(module, {})
    with pytest.raises(UserError, match="bank: no objective of this run compares modalities"):
        check_run(chosen(), module, ())


def test_a_run_is_held_against_what_a_bank_needs_before_anybody_trains(configure):
    module = build_module(configure(), None, 0, 1)
    check_run(chosen(), module, ("objectives.alignment.log_scale",))
    with pytest.raises(UserError, match=r"bank: encoder\.fusion\.patient stays at the site"):
        check_run(chosen(), module, ("objectives.alignment.log_scale", "encoder.fusion.patient"))
    with pytest.raises(UserError, match="bank.modalities: 'proteomics' is not configured; choose from pathology, "):
        check_run(chosen(modalities=("proteomics",)), module, ())


# Temperature and bias of a site's own.

OWN = ["objectives.*.log_scale", "objectives.alignment.bias"]


def test_the_patterns_name_temperature_and_bias_and_nothing_else(configure):
    module = build_module(configure("objective=siglip"), None, 0, 1)
    assert local_names(module, OWN) == ("objectives.alignment.bias", "objectives.alignment.log_scale")
    assert isinstance(module.objectives["alignment"], Alignment)


def test_a_sites_temperature_stays_there_from_round_to_round_and_the_server_never_sees_it(configure, tmp_path: Path):
    cfg = configure("objective=siglip", "validate_every=0", "monitor_every=0")
    module = build_module(cfg, None, 0, 4)
    names = local_names(module, OWN)
    start = to_weights(module.state_dict())
    weights, kept = start, {}
    for number in range(2):
        for site in ("riverside", "northgate"):
            turn = {"start_step": 2 * number, "steps": 2, "total_steps": 4, "local": list(names)}
            options = RoundOptions(str(tmp_path / "scratch"), state=str(tmp_path / site), **turn)
            result = run_round(Pretraining(cfg, site), options, RoundArrays(weights))
            assert not set(names) & set(result.weights)
            kept.setdefault(site, []).append(result)
        updates = {
            site: SiteUpdate(difference(weights, rounds[-1].weights), rounds[-1].samples)
            for site, rounds in kept.items()
        }
        weights = FedAvg(local=names).combine(weights, updates, frozenset()).weights
    assert all(np.array_equal(weights[name], start[name]) for name in names), "the server's never moved"
    local = {site: local_of(SiteState(tmp_path / site, Pretraining(cfg).state_digest).at(4)) for site in kept}
    held = {site: [values[name] for name in names] for site, values in local.items()}
    assert not np.array_equal(held["riverside"], held["northgate"]), "each site has its own"
    assert not np.array_equal(held["riverside"], [start[name] for name in names]), "and it learns"
