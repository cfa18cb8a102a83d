"""The shared bank: what leaves a site, how it is protected, and what the others get."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch.nn import functional

import configs
from foundation.command import instantiate
from foundation.errors import UserError
from foundation.federation.privacy.accountant import epsilon_of, noise_for
from foundation.federation.site.round import run_round
from foundation.federation.site.state import SiteState, local_of
from foundation.federation.strategies.averaging import FedAvg
from foundation.federation.task import RoundArrays, RoundOptions
from foundation.federation.weights.module import local_names, to_weights
from foundation.federation.weights.update import SiteUpdate, difference
from foundation.objectives.alignment import Alignment
from pretrain.embedding import Embedded, embed
from pretrain.federated.bank import embeddings as bank_module
from pretrain.federated.bank.embeddings import (
    check_run,
    fill,
    protect,
    release,
    secret_generator,
)
from pretrain.federated.bank.rows import check_rows, for_site
from pretrain.federated.bank.settings import BankSettings, bank_of
from pretrain.federated.task import Pretraining
from pretrain.fit import build_module, fit_round

WIDTH = 16


def chosen(**changes) -> BankSettings:
    content = {"modalities": ("pathology", "genomics"), "noise": 1e-9, "share": 1.0, "least": 1}
    if "epsilon" in changes:
        del content["noise"]
    return BankSettings.read(**(content | changes))


def seen(patients: int = 40, seed: int = 0) -> Embedded:
    """Every patient has images, every second one genes; a row's first value says whose it is."""
    generator = torch.Generator().manual_seed(seed)
    present = {
        "pathology": torch.ones(patients, dtype=torch.bool),
        "genomics": torch.arange(patients) % 2 == 0,
        "report": torch.zeros(patients, dtype=torch.bool),
    }
    embeddings = {
        name: functional.normalize(torch.randn(int(who.sum()), WIDTH, generator=generator), dim=1)
        for name, who in present.items()
        if who.any()
    }
    return Embedded([f"p{n}" for n in range(patients)], present, embeddings, torch.zeros(patients, WIDTH))


# The mechanism.


@settings(deadline=None, max_examples=50)
@given(st.floats(0.05, 30), st.floats(-9, -2))
def test_noise_for_an_epsilon_spends_that_epsilon_and_is_less_than_the_classical(epsilon, exponent):
    delta = 10**exponent
    noise = noise_for(epsilon, delta)
    assert epsilon_of(1 / noise, delta) == pytest.approx(epsilon, rel=1e-5)
    if epsilon < 1:
        assert noise <= math.sqrt(2 * math.log(1.25 / delta)) / epsilon  # Dwork and Roth 2014, theorem A.1


def test_the_noise_for_a_known_epsilon():
    # Analytic Gaussian mechanism (Balle and Wang 2018), by numerical integration of the two densities.
    noise = noise_for(1.0, 1e-5)
    x = np.linspace(-60, 60, 1_200_001)
    one, other = (np.exp(-(((x - centre) / noise) ** 2) / 2) / noise / math.sqrt(2 * math.pi) for centre in (1.0, 0.0))
    assert np.trapezoid(np.maximum(0, one - math.e * other), x) == pytest.approx(1e-5, rel=1e-3)


def test_a_patient_moves_across_the_sphere_in_every_modality_and_releases_compose_below_their_sum():
    one, two = chosen(epsilon=4.0, modalities=("genomics",)), chosen(epsilon=4.0)
    assert one.sensitivity == 2.0 and two.sensitivity == pytest.approx(2 * math.sqrt(2))
    assert two.deviation == pytest.approx(one.deviation * math.sqrt(2))
    assert two.spent().epsilon == pytest.approx(4.0, rel=1e-6) and two.spent().delta == 1e-5
    assert 4.0 < two.spent(4).epsilon < 16.0
    four = chosen(noise=two.deviation / 2)  # four releases at once, or half of the noise
    assert two.spent(4).epsilon == pytest.approx(four.spent().epsilon, rel=1e-6)
    assert two.spent(0).epsilon == 0.0


# What leaves.


def test_without_noise_rows_are_those_of_patients_drawn_without_order():
    embedded = seen()
    found = protect(embedded, chosen(), np.random.default_rng(0))
    assert found.keys() == {"pathology", "genomics"}
    for name, rows in found.items():
        own = embedded.embeddings[name].numpy()
        assert rows.dtype == np.float32 and rows.shape == own.shape
        whose = (rows @ own.T).argmax(axis=1)
        assert sorted(whose) == list(range(len(own))) and list(whose) != sorted(whose)
        np.testing.assert_allclose(rows, own[whose], atol=1e-6)


def test_modalities_of_a_patient_stand_in_other_places():
    embedded = seen(20)
    embedded.present["genomics"][:] = True
    embedded.embeddings["genomics"] = embedded.embeddings["pathology"]
    found = protect(embedded, chosen(), np.random.default_rng(0))
    assert not np.array_equal(found["pathology"], found["genomics"])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.floats(0.05, 1.0), st.integers(1, 50), st.integers(1, 12), st.integers(0, 99))
def test_no_more_leave_than_asked_and_none_where_they_are_few(patients, share, limit, least, seed):
    drawn = min(int(share * patients), limit)
    found = protect(seen(patients), chosen(share=share, limit=limit, least=least), np.random.default_rng(seed))
    assert ("pathology" in found) == (drawn >= least)
    for rows in found.values():
        assert least <= len(rows) <= drawn
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_patients_are_drawn_anew_each_time():
    generator = np.random.default_rng(0)
    once, again = (protect(seen(), chosen(share=0.5), generator)["pathology"] for _ in range(2))
    assert len(once) == len(again) == 20
    assert {tuple(row) for row in once} != {tuple(row) for row in again}


class InOrder:
    """A generator that draws noise and leaves the order alone."""

    def __init__(self) -> None:
        self.drawn = np.random.default_rng(0)

    def permutation(self, what):
        return np.arange(what) if isinstance(what, int) else what

    def normal(self, centre, deviation, shape):
        return self.drawn.normal(centre, deviation, shape)


def test_noise_of_the_declared_size_is_added_to_unit_length_and_the_sum_projected_again():
    embedded = seen(4000)
    own = embedded.embeddings["pathology"].numpy().copy()
    embedded.embeddings["pathology"] *= 3.0  # of whatever length it comes
    found = protect(embedded, chosen(noise=0.3, limit=4000), InOrder())["pathology"]
    expected = own + np.random.default_rng(0).normal(0, 0.3, own.shape)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    # In 16 directions it is 0.3 * 4 = 1.2 long, so a row leans on its patient by about 1 / sqrt(1 + 1.44).
    assert float((found * own).sum(axis=1).mean()) == pytest.approx(1 / math.sqrt(2.44), abs=0.02)


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_an_embedding_without_direction_is_refused(value):
    embedded = seen()
    embedded.embeddings["genomics"][3] = value
    with pytest.raises(UserError, match="bank.genomics: an embedding is no number or of no length"):
        protect(embedded, chosen(), np.random.default_rng(0))


def test_the_noise_of_a_site_is_nobody_elses():
    assert secret_generator().random() != secret_generator().random()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epsilon": 1.0, "noise": 1.0}, "bank: Value error, give either epsilon or noise"),
        ({"noise": 0.0}, "bank.noise: Input should be greater than 0"),
        ({"noise": math.inf}, "bank.noise: "),
        ({"share": 1.5}, "bank.share: "),
        ({"modalities": ()}, "bank.modalities: "),
        ({"modalities": ("genomics", "genomics")}, "a modality stands twice"),
        ({"nois": 1.0}, "bank.nois: Extra inputs are not permitted"),
    ],
)
def test_settings_that_protect_nothing_or_say_nothing_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        chosen(**changes)


def test_the_shipped_settings_are_read_and_strategies_keep_temperature_at_the_site():
    folder = Path(configs.__path__[0])
    shipped = OmegaConf.load(folder / "bank" / "gaussian.yaml")
    assert bank_of(OmegaConf.create({"bank": shipped})) == BankSettings(
        modalities=("pathology", "genomics"), epsilon=8.0
    )
    assert bank_of(OmegaConf.create({"bank": None})) is None is bank_of(OmegaConf.create({}))
    with pytest.raises(UserError, match="bank: found 'gaussian'; choose bank=gaussian"):
        bank_of(OmegaConf.create({"bank": "gaussian"}))
    assert instantiate(OmegaConf.load(folder / "strategy" / "site_temperature.yaml")).is_local(
        "objectives.alignment.log_scale"
    )


def test_a_modality_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="bank.modalities: 'radiology' is not configured; choose from pathology, gen"):
        protect(seen(), chosen(modalities=("radiology",)), np.random.default_rng(0))


# What the others get.


def test_a_site_gets_everybody_elses_rows_and_not_its_own():
    sent = {site: protect(seen(seed=n), chosen(), np.random.default_rng(n)) for n, site in enumerate("abc")}
    del sent["c"]["genomics"]
    found = for_site(sent, "a")
    assert {tuple(row) for row in found["pathology"]} == {tuple(r) for s in "bc" for r in sent[s]["pathology"]}
    assert {tuple(row) for row in found["genomics"]} == {tuple(row) for row in sent["b"]["genomics"]}
    again = for_site(dict(reversed(sent.items())), "a")
    assert all(np.array_equal(found[name], again[name]) for name in found), "whoever answered first"
    assert for_site({"a": sent["a"]}, "a") == {} == for_site({}, "a")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"report": np.eye(4, dtype=np.float32)}, "site b: bank.report: was not asked for"),
        ({"genomics": np.ones(4, np.float32)}, "site b: bank.genomics: float32 of shape"),
        ({"genomics": np.eye(4, dtype=np.int64)}, "site b: bank.genomics: int64 of shape"),
        ({"genomics": np.eye(3, dtype=np.float32)}, "site b: bank.genomics: .* rows of 4 numbers were asked for"),
        ({"genomics": np.ones((9, 4), np.float32)}, "site b: bank.genomics: 9 rows; 2 to 8 were asked for"),
        (
            {"genomics": 5 * np.eye(4, dtype=np.float32)},
            "site b: bank.genomics: holds rows that are not of unit length",
        ),
        ({"genomics": np.full((4, 4), np.nan, np.float32)}, "site b: bank.genomics: holds rows that are not of unit"),
    ],
)
def test_rows_that_were_not_asked_for_are_refused(rows, said):
    with pytest.raises(UserError, match=said):
        check_rows(rows, chosen(least=2, limit=8), "b", 4)


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
