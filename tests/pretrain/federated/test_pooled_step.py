"""One full-batch step of SGD across hospitals is the pooled step, for objectives that are a mean over patients."""

from pathlib import Path

import numpy as np
import pytest

from foundation.data.dictionary import read_dictionary
from foundation.federation.groups import group_of
from foundation.federation.statistics.pooling import pool
from foundation.federation.weights.aggregation import shares
from foundation.federation.weights.module import to_weights
from pretrain.federated.task import Pretraining, initial_moments
from pretrain.fit import build_module, fit_round

SITES = ("riverside", "northgate", "lakeview")  # northgate has no genomics, lakeview no images
FULL_BATCH = ("data.batch_size=1000", "data.modality_dropout=0", "checkpoint_every=0")
SGD = ("optimizer.kind=sgd", "optimizer.learning_rate=0.1", "optimizer.weight_decay=0", "optimizer.warmup=0")
# Batch statistics, dropout and a clipped gradient are of a hospital's own batch.
PLAIN = (
    *("modality.pathology.backbone=test_vit", "modality.radiology.backbone=test_vit"),
    *("modality.report.dropout=0.0", "trainer.gradient_clip_val=null"),
)


@pytest.mark.parametrize("name", ["masked_words", "masked_genes", "expression_from_images"])
def test_a_step_across_hospitals_is_the_pooled_one(name: str, configure, small_cohort: Path, tmp_path: Path):
    cfg = configure("objective=full", *FULL_BATCH, *SGD, *PLAIN)
    cfg.objective = {name: cfg.objective[name]}
    start = to_weights(build_module(cfg, None, 0, 1).state_dict())
    pooled = pool([Pretraining(cfg, site).statistics(["expression"]) for site in SITES])
    start |= initial_moments(pooled, read_dictionary(small_cohort).genes)

    def step(hospitals: list[str], folder: str):
        return fit_round(cfg, hospitals, start, tmp_path / folder, steps=1, start_step=0, total_steps=1)

    together, apart = step(list(SITES), "pooled"), {site: step([site], site) for site in SITES}
    trained = [key for key in together.weights if group_of(key) in together.samples]
    learnt = [key for key in trained if not np.array_equal(together.weights[key], start[key])]
    assert any(key.startswith(f"objectives.{name}") for key in learnt)
    for key in learnt:
        counts = {site: result.samples.get(group_of(key), 0) for site, result in apart.items()}
        assert sum(counts.values()) == together.samples[group_of(key)]
        mean = sum(share * (apart[site].weights[key] - start[key]) for site, share in shares(counts).items())
        np.testing.assert_allclose(mean, together.weights[key] - start[key], atol=1e-6, err_msg=key)
