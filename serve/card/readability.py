"""Whether a card's first words are easy to read and short, and its page small: bounds that the check holds it to.

Reading ease is Flesch's (J. Appl. Psychol. 32, 1948): 206.835 less 1.015 times the words of a sentence and 84.6 times
the syllables of a word; 60 and more is plain English, 30 to 50 reads like a paper. Names of tasks and hospitals and
numbers are no choice of words: each, and a list of them, counts as one word of one syllable.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serve.card.documents import read_text
from serve.card.wording import cell

LEAST_EASE = 60.0
MOST_WORDS = 100  # and as many more for each evaluation
MOST_BYTES = 2_000_000
_NAMED = "it"  # stands for a node
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_SENTENCE = re.compile(r"[.!?:;]+(?=\s|$)")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?:[^aeiouyl]e|[^l]le(?<=[aeiouy]le)|[^aeiouytd]ed|[^aeiouycgsxz]es)$")
_LIST = re.compile(rf"\b{_NAMED}(?:, {_NAMED})+\b")
_TITLE = "## In short"


def reading_ease(text: str) -> float:
    """Flesch's figure of a text; 100 of an empty one."""
    words = _WORD.findall(text)
    if not words:
        return 100.0
    sentences = sum(bool(_WORD.search(part)) for part in _SENTENCE.split(text))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words)


def syllables(word: str) -> int:
    """Of an English word by its letters: groups of vowels, less an end that is silent; vowels apart count as one."""
    letters = word.lower().removesuffix("'s")
    return max(1, len(_VOWELS.findall(letters)) - bool(_SILENT.search(letters)))


def first_words(readme: str, card: Mapping[str, Any]) -> str:
    """The part of a card in plain words, its nodes as one word each."""
    lines = readme.split("\n")
    bound: dict[int, list[tuple[int, str]]] = {}
    for row, column, name in card["readme"]:
        bound.setdefault(row, []).append((column, cell(card["nodes"].get(name, {}).get("text", ""))))
    if _TITLE not in lines:
        return ""
    start = lines.index(_TITLE) + 1
    end = next((row for row in range(start, len(lines)) if lines[row].startswith("#")), len(lines))
    text = "\n".join(_without_nodes(lines[row], bound.get(row + 1, [])) for row in range(start, end))
    return _LIST.sub(_NAMED, text)


def problems(folder: Path, card: Mapping[str, Any], evaluations: int) -> Iterator[str]:
    """What of a card is hard to read, too long or too large, a line each.

    Args:
        folder: of the card.
        card: content of `card.json`.
        evaluations: that it tells of.
    """
    readme, page = folder / "README.md", folder / "card.html"
    text = first_words(read_text(readme), card) if readme.is_file() else ""
    count, ease = len(_WORD.findall(text)), reading_ease(text)
    most = MOST_WORDS * (1 + evaluations)
    if count > most:
        yield f"README.md: 'In short' has {count} words, at most {most}; say less there"
    if ease < LEAST_EASE:
        yield f"README.md: 'In short' has a reading ease of {ease:.0f}, at least {LEAST_EASE:.0f}; say it plainer"
    if page.is_file() and page.stat().st_size > MOST_BYTES:
        size = page.stat().st_size
        yield f"card.html: {size} bytes, at most {MOST_BYTES}; leave out some of evaluation=... or analyses=..."


def _without_nodes(text: str, nodes: list[tuple[int, str]]) -> str:
    for column, node in sorted(nodes, reverse=True):
        text = text[:column] + _NAMED + text[column + len(node) :]
    return text
