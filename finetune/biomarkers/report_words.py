"""Words of reports, taken away one by one."""

import re
from collections import defaultdict

import numpy as np
import pandas as pd

from finetune.biomarkers import leave_out, pictures
from finetune.biomarkers.base import Part, number
from finetune.biomarkers.leave_out import Keep, curves, falls
from finetune.biomarkers.outcome import Outcome
from finetune.biomarkers.scorer import Scorer
from finetune.biomarkers.settings import Settings
from finetune.page import table_of, words
from finetune.trial.base import patient_replicates
from foundation.data.sections import section
from foundation.statistics.table import Floats

MODALITY = "report"
_WORD = re.compile(r"\w+")
_MOST = 200  # words of a report, its first


def word_keeper(scorer: Scorer, text: str) -> tuple[list[str], Keep]:
    """The words of a report, lower case, and scores from the report alone where only some of them are left."""
    there = list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))[:_MOST]

    def keep(shown: list[list[int]]) -> Floats:
        texts = [_without(text, set(there) - {there[place] for place in some}) for some in shown]
        return np.asarray(scorer.samples([{MODALITY: left} for left in texts]).double().cpu().numpy())

    return there, keep


def word_part(scorer: Scorer, outcome: Outcome, settings: Settings, seed: int) -> Part:
    """Words by how far the score falls without them; of those that few patients have none is told."""
    dataset = scorer.dataset(outcome.patients, [MODALITY])
    by_word: dict[str, list[float]] = defaultdict(list)
    ordered: list[Floats] = []
    random: list[Floats] = []
    chosen: list[str] = []
    for name in dataset.patients:
        there, keep = word_keeper(scorer, dataset.sample(name)[MODALITY])
        if len(there) < 2 or len(chosen) == settings.patients:
            continue
        fall = falls(keep, len(there))
        first, by_chance = curves(keep, fall, seed)
        for word, value in zip(there, fall.tolist(), strict=True):
            by_word[word].append(value)
        ordered.append(first)
        random.append(by_chance)
        chosen.append(name)
    if len(chosen) < 2:
        return Part()
    faithfulness = leave_out.figures(
        np.array(ordered), np.array(random), patient_replicates(chosen, settings.resamples, seed), "words"
    )
    rows = [
        (word, len(values), float(np.abs(values).mean()), float(np.mean(values)))
        for word, values in by_word.items()
        if len(values) >= settings.smallest
    ]
    rows.sort(key=lambda row: -row[2])
    table = pd.DataFrame(rows, columns=["word", "patients", "mean size", "mean fall without it"])
    shown = table.head(settings.top)
    shown = shown.assign(**{name: [number(value) for value in shown[name]] for name in shown.columns[2:]})
    note = (
        f"{len(chosen)} patients, the score from the report alone, every occurrence of a word taken away together. "
        f"Words of fewer than {settings.smallest} patients are not told."
    )
    picture = pictures.deletion_curve(np.array(ordered), np.array(random), "words", leave_out.SHARES)
    sections = [section("Words of reports", [shown.set_index("word"), table_of(faithfulness)], picture, note=note)]
    best = ", ".join(f"'{word}'" for word in table["word"].head(5))
    lead = [
        f"In reports the score goes most by {best or 'no word that enough patients have'}; without the words that it "
        f"rests on it falls by {words(faithfulness['deletion_gain'])} more than without random ones."
    ]
    return Part(lead, sections, {f"words/{name}": figure for name, figure in faithfulness.items()}, {"words": table})


def _without(text: str, away: set[str]) -> str:
    return " ".join(_WORD.sub(lambda match: "" if match[0].lower() in away else match[0], text).split())
