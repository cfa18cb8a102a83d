"""Statistics of sites, taken and pooled as if their patients were in one place."""

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.federation.statistics import (
    NAMES,
    SiteStatistics,
    pool,
    suppress,
)
from foundation.federation.statistics.contract import Expression, Known
from foundation.federation.statistics.site import site_statistics, tissue_density
from tests.foundation.federation.statistics.comparisons import CLOSE, flat


def same(one: SiteStatistics, other: SiteStatistics) -> None:
    left, right = flat(one.model_dump()), flat(other.model_dump())
    assert left.keys() == right.keys()
    for path, value in left.items():
        if isinstance(value, float):
            assert np.isclose(value, right[path], **CLOSE), path
        else:
            assert value == right[path], path


def test_pooled_sites_equal_one_place(cohort, parts, pooled):
    same(pooled, site_statistics(cohort, list(cohort.patients.index)))
    assert pooled.sites == cohort.declared
    assert pooled.names == NAMES
    assert parts[1].expression is None  # northgate has no genomics
    assert parts[2].stain is None  # lakeview has no images


def test_pooling_in_steps_is_pooling(parts, pooled):
    same(pool([pool(parts[:2]), pool(parts[2:])]), pooled)


def test_the_numbers_are_those_of_the_cohort(cohort, pooled):
    table = cohort.patients
    counts = pooled.counts
    assert counts.patients == len(table) == sum(counts.combination.values()) == sum(counts.hospital.values())
    assert counts.modality == {name: int(table[name].sum()) for name in counts.modality}
    assert counts.label["biomarker"] == Known(
        known=int(table["biomarker"].count()), positive=int(table["biomarker"].sum())
    )
    profiles = np.stack(
        [cohort.sample(patient)["genomics"]["expression"] for patient in table.index[table["genomics"]]]
    ).astype(np.float64)
    np.testing.assert_allclose(pooled.expression.mean, np.nanmean(profiles, axis=0), **CLOSE)
    np.testing.assert_allclose(
        pooled.expression.m2, np.nanvar(profiles, axis=0) * (~np.isnan(profiles)).sum(axis=0), **CLOSE
    )
    assert pooled.survival.events == int(table["os_event"].sum())
    assert pooled.survival.time.count * pooled.survival.time.mean == pytest.approx(table["os_days"].sum())
    ages = [value for patient in table.index[table["record"]] if (value := cohort.sample(patient)["record"]["age"])]
    assert pooled.record.numbers["age"].count == len(ages)
    assert pooled.record.numbers["age"].mean == pytest.approx(np.mean(ages))
    assert sum(pooled.record.levels["sex"].values()) <= pooled.record.patients


def test_only_what_is_asked_for_is_taken(cohort):
    own = list(cohort.patients.index[:5])
    assert site_statistics(cohort, own, ["counts", "survival"]).names == ("counts", "survival")
    assert site_statistics(cohort, own + own, ["counts"]).counts.patients == 5
    with pytest.raises(UserError, match="'mutations' is none; say some of counts, expression"):
        site_statistics(cohort, own, ["mutations"])
    with pytest.raises(UserError, match="patient nobody is not in this cohort"):
        site_statistics(cohort, ["nobody"])


def test_stain_looks_at_tissue_of_drawn_images(cohort):
    glass = np.full((4, 4, 3), 245, np.uint8)
    assert len(tissue_density(glass)) == 0
    glass[0, 0] = (255, 26, 0)
    np.testing.assert_allclose(tissue_density(glass), [[0, -np.log10(26 / 255), np.log10(255)]])
    patients = list(cohort.patients.index[cohort.patients["pathology"]][:3])
    stains = [site_statistics(cohort, patients, ["stain"], images=2, seed=seed).stain for seed in (0, 0, 1)]
    assert stains[0] == stains[1]
    assert stains[0].patients == 3
    assert stains[0].images <= 6


def test_pooled_counts_of_withheld_cells_are_the_least(parts):
    told = [suppress(part, 8) for part in parts]
    pooled = pool(told)
    assert pooled.withheld == [cell for part in told for cell in part.withheld]
    assert pooled.withheld
    for name, value in pooled.counts.combination.items():
        known = [part.counts.combination.get(name, 0) for part in told]
        assert value == (None if set(known) == {None} else sum(count or 0 for count in known))
    with pytest.raises(UserError, match="suppressed at their sites already"):
        suppress(pooled, 5)
    with pytest.raises(UserError, match="min_cell: 0 found"):
        suppress(parts[0], 0)


def test_what_cannot_be_pooled_is_said(parts):
    with pytest.raises(UserError, match="no site told any"):
        pool([])
    with pytest.raises(UserError, match="site riverside is there twice"):
        pool([parts[0], parts[0]])
    other = parts[2].model_copy(update={"expression": parts[2].expression.model_copy(update={"unit": "tpm"})})
    with pytest.raises(UserError, match="log2_tpm and in tpm; prepare"):
        pool([parts[0], other])


def test_genes_are_pooled_by_symbol():
    one = Expression(unit="tpm", genes=["A", "B"], count=[2, 3], mean=[1.0, 2.0], m2=[0.5, 1.0])
    other = Expression(unit="tpm", genes=["C", "B"], count=[None, 3], mean=[None, 4.0], m2=[None, 1.0])
    found = pool(
        [SiteStatistics(sites=["x"], expression=one), SiteStatistics(sites=["y"], expression=other)]
    ).expression
    assert found.genes == ["A", "B", "C"]
    assert found.count == [2, 6, None]
    assert found.mean == [1.0, 3.0, None]
    assert found.m2 == [0.5, 1 + 1 + 6 * 1.0, None]
