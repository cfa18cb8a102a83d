"""Violations of axe-core's rules on pages of real runs, at two widths in light and dark; needs Chromium.

python scripts/bench/accessibility.py runs/demo/card/card.html runs/demo/evaluation/evaluation.html
"""

import argparse
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.browser import BROWSER, DESK, PHONE, violations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    pages = parser.parse_args().pages
    total = 0
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for path in pages:
            for scheme in ("light", "dark"):
                for size in (DESK, PHONE):
                    tab = browser.new_page(viewport=size, color_scheme=scheme)
                    tab.goto(path.resolve().as_uri())
                    broken = violations(tab)
                    wide = tab.evaluate("document.documentElement.scrollWidth") - size["width"]
                    broken += [f"{wide} pixels wider than its screen"] if wide > 0 else []
                    total += len(broken)
                    print(f"{path} {scheme} {size['width']}: {'; '.join(broken) or 'none'}")
                    tab.close()
        browser.close()
    print(f"violations: {total} on {len(pages)} pages, each looked at four times")


if __name__ == "__main__":
    main()
