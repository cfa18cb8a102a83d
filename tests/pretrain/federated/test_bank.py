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
from pretrain.embedding import Embedded
from pretrain.federated.bank.embeddings import (
    protect,
    secret_generator,
)
from pretrain.federated.bank.rows import check_rows, for_site
from pretrain.federated.bank.settings import BankSettings, bank_of
from tests.pretrain.federated.bank_settings import chosen

WIDTH = 16


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
