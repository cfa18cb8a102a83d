"""The shared bank of protected embeddings: a site's patients as further negatives of the others' alignment.

What is protected: the values of any one patient, at the site itself, whoever sees the rows (local differential privacy
by the Gaussian mechanism). Neighbours are two cohorts that differ in all values of one patient, who has the same
modalities in both. What is not: how many patients a site drew, and which modalities they have. It holds only if

- embeddings come from weights that the server sent, for weights of the site's own training hold all its patients;
- the noise comes from the site's own secret (`secret_generator`), never from the run's seed.

How strong the noise is, the run's settings say, and so the server; a site's policy names the least that it gives its
patients' embeddings for (`privacy.embeddings`), and its budget.

A site's updates tell of its patients, too. What both spend is added (basic composition, which holds whatever each is
told of the other), for the same neighbours: updates that are private by site are counted as replaced, not as left out,
for a patient's other values give the site another update, not none. Updates without noise are not counted, and nothing
covers them. Nothing is claimed for the draw and the shuffle, which can only lower what is spent. Noise is drawn in
double precision; the attack on its last bits (Mironov 2012) is not countered.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from foundation.engine.trainer import seeded
from foundation.errors import UserError
from foundation.federation.privacy.noise import fresh_secret
from foundation.federation.weights.module import local_names, place
from foundation.federation.weights.types import Weights
from foundation.objectives.alignment import Alignment
from pretrain.assemble import datasets, load_cohort
from pretrain.embedding import Embedded, embed
from pretrain.federated.bank.rows import Rows
from pretrain.federated.bank.settings import BankSettings
from pretrain.fit import build_module
from pretrain.module import PretrainModule

_SHORTEST = 1e-6  # less has no direction


def check_run(settings: BankSettings, module: PretrainModule, local: Iterable[str]) -> None:
    """Holds a run against what a bank needs, before anybody trains.

    Args:
        settings: of the run.
        module: of the run.
        local: names that stay at the sites.

    Raises:
        UserError: if parts of the encoder stay at the sites, no objective compares modalities, or a modality is none.
    """
    _check_shared(local)
    _check_known(settings, module.encoder.modalities)
    fill(module, {})


def secret_generator() -> np.random.Generator:
    """Random numbers from the operating system's cryptographic source, which nobody else can draw again."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(fresh_secret())))


def release(
    cfg: DictConfig,
    hospital: str,
    weights: Weights,
    settings: BankSettings,
    generator: np.random.Generator,
    local: tuple[str, ...] = (),
) -> Rows:
    """A site's share of the next bank: its train patients, seen with the server's weights, protected.

    Args:
        cfg: the run's config with the site's own data in it.
        hospital: whose patients.
        weights: as the server sent them, best those that the round became.
        settings: of the run.
        generator: the site's secret.
        local: patterns of what stays at the site, see `local_names`.

    Raises:
        UserError: if parts of the encoder stay at the site: its embeddings would tell of all its patients.
    """
    module = build_module(cfg, None, 0, 1)
    names = local_names(module, local)
    _check_shared(names)
    place(module, weights, {}, names)
    cohort, parts = load_cohort(cfg, [hospital])
    train, _ = datasets(cfg, cohort, parts, list(module.encoder.modalities))
    with seeded(cfg.seed):
        return protect(embed(module.encoder, train), settings, generator)


def protect(seen: Embedded, settings: BankSettings, generator: np.random.Generator) -> Rows:
    """Some of a site's patients, drawn at random, as noisy unit-length rows without ids, in random order.

    Rows of one modality stand in another order than those of the next, so that a patient's cannot be joined.

    Args:
        seen: the site's train patients.
        settings: of the run.
        generator: the site's secret.

    Returns:
        By modality, `[rows, width]`.

    Raises:
        UserError: if a modality is none of the encoder's, or an embedding is no number or has no direction.
    """
    _check_known(settings, seen.present)
    count = min(int(settings.share * len(seen.patients)), settings.limit)
    drawn = np.zeros(len(seen.patients), dtype=bool)
    drawn[generator.permutation(len(seen.patients))[:count]] = True
    protected: Rows = {}
    for name in settings.modalities:
        if name not in seen.embeddings:
            continue
        rows = seen.embeddings[name].numpy()[drawn[seen.present[name].numpy()]]
        if len(rows) >= settings.least:
            noisy = _unit(name, rows) + generator.normal(0.0, settings.deviation, rows.shape)
            protected[name] = generator.permutation(_unit(name, noisy)).astype(np.float32)
    return protected


def fill(module: PretrainModule, rows: Mapping[str, NDArray[np.generic]]) -> None:
    """Gives a site's bank to every objective that compares patients of different modalities.

    Raises:
        UserError: if none does, or the rows do not fit: the bank would be sent for nothing.
    """
    comparing = [objective for objective in module.objectives.values() if isinstance(objective, Alignment)]
    if not comparing:
        raise UserError("bank: no objective of this run compares modalities; leave bank=null, or add an alignment")
    for objective in comparing:
        objective.set_bank({name: torch.from_numpy(np.array(values)) for name, values in rows.items()})


def _check_shared(local: Iterable[str]) -> None:
    at_site = [name for name in local if name.startswith("encoder.")]
    if at_site:
        raise UserError(
            f"bank: {at_site[0]} stays at the site, so its embeddings cannot be protected; take one of the two"
        )


def _check_known(settings: BankSettings, modalities: Iterable[str]) -> None:
    known = list(modalities)
    unknown = sorted(set(settings.modalities) - set(known))
    if unknown:
        raise UserError(f"bank.modalities: '{unknown[0]}' is not configured; choose from {', '.join(known)}")


def _unit(name: str, rows: NDArray[np.generic]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not bool((lengths > _SHORTEST).all()):
        raise UserError(f"bank.{name}: an embedding is no number or of no length; look at the run's losses")
    unit: NDArray[np.float64] = rows / lengths
    return unit
