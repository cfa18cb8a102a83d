"""A headless Chromium for tests of pages, and axe-core's verdict on them."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

# Screens by width and colours: two of four see each of both, and the slow tests all.
SCREENS = [
    pytest.param("light", DESK, id="light desk"),
    pytest.param("dark", PHONE, id="dark phone"),
    pytest.param("light", PHONE, id="light phone", marks=pytest.mark.slow),
    pytest.param("dark", DESK, id="dark desk", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; where there is none, what needs it is skipped."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="set up anew: bash scripts/setup.sh")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def violations(tab: Any) -> list[str]:
    """What axe-core finds against a page as it is shown now, all of its rules on: a line each, with the first place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [f"{one['id']} ({len(one['nodes'])}): {one['nodes'][0]['html'][:120]}" for one in found]
