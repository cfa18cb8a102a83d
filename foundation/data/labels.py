"""Labels whose cells are words: read as the index of their class."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from foundation.data.columns import nearest
from foundation.data.problems import Problems
from foundation.data.table_files import as_text


def coded_labels(
    patients: pd.DataFrame, classes: Mapping[str, list[str]], path: Path, problems: Problems
) -> pd.DataFrame:
    """The patients' table with the index of its class for each word of a label.

    Args:
        patients: as read, indexed by patient.
        classes: label → its words, in order.
        path: of the table.
        problems: takes words that are no class, which are then unknown.
    """
    coded = {}
    for name, words in classes.items():
        if name not in patients:
            continue
        cells = as_text(patients[name])
        other = cells[cells.notna() & ~cells.isin(words)]
        for word, count in other.value_counts().items():
            finding = f"{count} patients, the first {other.index[other == word][0]}, have none of {', '.join(words)}"
            advice = nearest(str(word), words, "add it to its classes, or to missing in its column's declaration")
            problems.error(path, finding, advice, field=name, value=word)
        index = {word: float(place) for place, word in enumerate(words)}
        coded[name] = cells.map(index).astype(np.float64)
        rule = f"words of classes, read as their index: {', '.join(words)}"
        problems.tell(path, rule, int(coded[name].count()), name)
    return patients.assign(**coded)
