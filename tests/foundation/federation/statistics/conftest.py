"""Statistics of the small cohort's sites, each and pooled."""

from pathlib import Path

import pytest

from foundation.data.cohort import Cohort
from foundation.federation.statistics import (
    SiteStatistics,
    pool,
)
from foundation.federation.statistics.site import site_statistics


@pytest.fixture(scope="module")
def cohort(small_cohort: Path) -> Cohort:
    return Cohort(small_cohort)


@pytest.fixture(scope="module")
def parts(small_cohort: Path, cohort: Cohort) -> list[SiteStatistics]:
    views = [Cohort(small_cohort, [name]) for name in cohort.declared]
    return [site_statistics(view, list(view.patients.index)) for view in views]


@pytest.fixture(scope="module")
def pooled(parts: list[SiteStatistics]) -> SiteStatistics:
    return pool(parts)
