"""A card's first words are plain and few, its page is small, and the check says where they are not."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.card import readability
from serve.card.build import Inputs, build
from serve.card.check import check
from tests.browser import DESK, PHONE
from tests.browser import browser as browser
from tests.serve.card.chains import chain

SYLLABLES = {
    **dict.fromkeys(("age", "sex", "reach", "wide", "place", "the", "helped", "named", "bees", "page", "where"), 1),
    **dict.fromkeys(("alone", "patient", "predicts", "never", "tested", "wanted", "people", "table", "results"), 2),
    **dict.fromkeys(("hospital", "interval", "another", "prediction", "abstaining", "beginning"), 3),
    **dict.fromkeys(("modality", "pathology", "responsible"), 4),
}


@pytest.mark.parametrize(("word", "count"), SYLLABLES.items())
def test_syllables_of_words(word: str, count: int):
    assert readability.syllables(word) == count


@pytest.mark.parametrize(
    ("text", "ease"),
    [
        ("The cat sat on the mat.", 206.835 - 1.015 * 6 - 84.6 * 6 / 6),
        ("This sentence has seven words in total. No.", 206.835 - 1.015 * 8 / 2 - 84.6 * 11 / 8),
        ("", 100.0),
    ],
)
def test_reading_ease_is_flesch_s(text: str, ease: float):
    assert readability.reading_ease(text) == pytest.approx(ease)


def test_longer_sentences_and_words_read_worse():
    plain = readability.reading_ease("We left it out. We do not know it.")
    assert plain > readability.reading_ease("We left it out since we do not know it.")
    assert plain > readability.reading_ease("Imputation was avoided. Uncertainty necessitates exclusion.")


def test_names_and_numbers_are_no_choice_of_words():
    card = {"readme": [[3, 7, "a"], [3, 28, "b"]], "nodes": {"a": {"text": "Universitätsmedizin"}, "b": {"text": "x"}}}
    readme = "## In short\n\nTested Universitätsmedizin, x only.\n\n## Results\n\nMore."
    assert readability.first_words(readme, card).split() == ["Tested", "it", "only."]


def test_cards_are_within_the_bounds(copy: Path):
    card = json.loads((copy / "card" / "card.json").read_text())
    text = readability.first_words((copy / "card" / "README.md").read_text(), card)
    assert len(text.split()) > 60 and readability.reading_ease(text) >= 70
    assert check(copy / "card") == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "Notwithstanding heterogeneous institutional considerations. " * 12,
            "a reading ease of 14, at least 60; say it plainer",
        ),
        ("It is so. " * 100, " words, at most 200; say less there"),
    ],
)
def test_hard_or_long_first_words_are_named(copy: Path, words: str, line: str):
    card = json.loads((copy / "card" / "card.json").read_text())
    path = copy / "card" / "README.md"
    path.write_text(path.read_text().replace("## Results", words + "\n\n## Results", 1))
    (problem,) = readability.problems(copy / "card", card, 1)
    assert problem.startswith("README.md: 'In short' has ") and line in problem


def test_a_page_that_is_too_large_is_named(copy: Path):
    path = copy / "card" / "card.html"
    path.write_text(path.read_text() + " " * readability.MOST_BYTES)
    assert any(
        f"card.html: {path.stat().st_size} bytes, at most 2000000" in problem for problem in check(copy / "card")
    )


@pytest.mark.process
@pytest.mark.parametrize("kind", ["classification", "survival"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_summary_fits_the_first_screen(browser: Any, tmp_path: Path, kind: str, size: dict[str, int]):
    page = build(Inputs((chain(tmp_path, kind=kind),), "demo", "mit"), tmp_path / "card").documents["card.html"]
    (tmp_path / "card.html").write_text(page)
    tab = browser.new_page(viewport=size)
    tab.goto((tmp_path / "card.html").as_uri())
    assert tab.evaluate("document.getElementById('summary').getBoundingClientRect().bottom") <= size["height"]
    tab.close()
