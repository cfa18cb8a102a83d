"""The page is built as those need it who hear it, use a keyboard alone, or see little contrast (WCAG 2.2, AA)."""

import itertools
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from serve.card.build import Inputs, build
from tests.serve.card.chains import PRIVACY, chain, trial

_LEAST = 4.5  # contrast of text, WCAG 1.4.3


class Outline(HTMLParser):
    """What assistive technology reads of a page: its elements with attributes, and texts by the element around them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag != "meta":
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for place in self._open:
            self.texts[place] = self.texts.get(place, "") + data

    def named(self, tag: str) -> list[tuple[int, dict[str, str]]]:
        return [(place, attrs) for place, (name, attrs) in enumerate(self.elements) if name == tag]


@pytest.fixture(scope="module")
def outline(tmp_path_factory: pytest.TempPathFactory) -> Outline:
    root = tmp_path_factory.mktemp("page")
    inputs = [chain(root, privacy=PRIVACY), chain(root / "other", kind="survival")]
    analyses = (trial(root / "trial", root / "finetune"),)
    page = Outline()
    page.feed(build(Inputs(tuple(inputs), "demo", "mit", analyses=analyses), root / "card").documents["card.html"])
    return page


def test_the_page_has_a_language_a_title_and_landmarks(outline: Outline):
    assert outline.named("html")[0][1]["lang"] == "en"
    assert outline.texts[outline.named("title")[0][0]] == "demo: model card"
    assert [len(outline.named(tag)) for tag in ("header", "nav", "main", "h1")] == [1, 1, 1, 1]
    assert outline.named("nav")[0][1]["aria-label"]


def test_headings_leave_no_level_out(outline: Outline):
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_links_lead_to_sections_of_the_page(outline: Outline):
    ids = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    targets = [attrs["href"] for _, attrs in outline.named("a")]
    assert targets and {target.removeprefix("#") for target in targets} <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_cell_of_a_head_says_what_it_heads(outline: Outline):
    assert outline.named("th") and all(attrs["scope"] in ("col", "row") for _, attrs in outline.named("th"))
    assert all(outline.texts.get(place, "").strip() for place, _ in outline.named("th"))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(outline: Outline):
    regions = [attrs for _, attrs in outline.elements if attrs.get("class") == "scroll"]
    assert regions and all(attrs["tabindex"] == "0" and attrs["aria-label"] and attrs["role"] for attrs in regions)


def test_what_opens_says_what_it_opens(outline: Outline):
    summaries = outline.named("summary")
    assert len(summaries) == len(outline.named("details"))
    assert all(outline.texts.get(place, "").strip() for place, _ in summaries)


def test_every_drawing_is_a_picture_with_words(outline: Outline):
    drawings = [attrs for _, attrs in outline.named("svg")]
    assert len(drawings) >= 6 and all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in drawings)


def luminance(colour: str) -> float:
    """Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour.lstrip("#")
    digits = "".join(letter * 2 for letter in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_wcag_says():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "soft"])
@pytest.mark.parametrize("ink", ["text", "quiet", "mark"])
def test_texts_stand_out_from_what_is_behind_them(theme: int, ground: str, ink: str):
    style = (resources.files("serve.card") / "templates" / "card.css").read_text(encoding="utf-8")
    roots = [dict(re.findall(r"--(\w+): (#\w+)", part)) for part in re.findall(r":root \{([^}]*)\}", style)]
    assert len(roots) == 2
    assert contrast(roots[theme][ink], roots[theme][ground]) >= _LEAST
