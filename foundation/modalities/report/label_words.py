"""Words of a label in reports: what a model would read instead of predicting."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from foundation.data.problems import Problems

_FEWEST = 5  # patients of a class, and of the others
_TELLING = 0.5  # difference of shares from which on a word tells the class
_SHORTEST = 3  # letters


def check_label_words(
    texts: "pd.Series[str]", labels: pd.DataFrame, words: Mapping[str, Collection[str]], path: Path, problems: Problems
) -> None:
    """Warns of a label's own words that stand in the reports of one class, and hardly in those of the others.

    Args:
        texts: by patient.
        labels: indices of classes `[patients, labels]`.
        words: label → those of its name and of its values.
        path: of the reports.
        problems: takes one warning a label, of its most telling word.
    """
    for name in labels.columns:
        known = labels[name].dropna()
        known = known[known.index.isin(texts.index)]
        tells = []
        for word in sorted({word for word in words[name] if len(re.findall("[^\\W\\d_]", word)) >= _SHORTEST}):
            holds = texts[known.index].str.contains(rf"(?<!\w){re.escape(word)}(?!\w)", case=False)
            for value in sorted(known.unique()):
                inside, outside = holds[known == value], holds[known != value]
                if min(len(inside), len(outside)) >= _FEWEST:
                    tells.append((inside.mean() - outside.mean(), inside.mean(), outside.mean(), word, value))
        telling = max(tells, default=None)
        if telling is not None and telling[0] >= _TELLING:
            _, share, others, word, value = telling
            finding = (
                f"a word of {name} stands in {share:.0%} of the reports of class {value:g}, {others:.0%} of others"
            )
            advice = f"cut it, or let the task of {name} read no reports (task.modalities)"
            problems.warn(path, finding, advice, field="text", value=word)


def words_of_label(name: str, written: Collection[str]) -> set[str]:
    """The words of a label: its name, also part by part, and what its column says."""
    return {name.replace("_", " "), *re.split(r"[_\W]+", name), *written}
