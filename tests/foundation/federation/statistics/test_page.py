"""The page of statistics for people."""

from foundation.federation.statistics import (
    SiteStatistics,
    pool,
    statistics_page,
    suppress,
)


def test_the_page_shows_every_site_and_all_together(parts, pooled):
    page = statistics_page(parts, pooled)
    assert "| | riverside | northgate | lakeview | summit | **pooled** |" in page
    assert "| patients | 24 | 20 | 18 | 16 | 78 |" in page
    for title in ("Patients", "Clinical record", "Follow-up", "Expression", "Stain"):
        assert f"## {title}\n" in page
    width = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert width == {7}
    assert page.isprintable() or "\n" in page


def test_the_page_says_what_was_withheld(parts):
    told = [suppress(part, 8).only(["counts", "record"]) for part in parts]
    page = statistics_page(told, pool(told))
    assert "| small |" in page
    assert "≥ " in page
    assert "## Stain" not in page
    odd = replace_site(told[0], "a|b*")
    assert "a\\|b\\*" in statistics_page([odd], pool([odd]))


def replace_site(told: SiteStatistics, name: str) -> SiteStatistics:
    return told.model_copy(update={"sites": [name], "withheld": []})
