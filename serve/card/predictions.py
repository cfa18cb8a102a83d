"""The predictions that an evaluation keeps, of every patient and output, read back."""

from pathlib import Path

import pandas as pd

from foundation.errors import UserError

_NAMES = ("patient", "split", "subset", "output")
_NUMBERS = ("label", "prediction", "probability")


def read_predictions(path: Path) -> pd.DataFrame:
    """Rows of test patients of `predictions.parquet`, as `finetune.results.prediction_rows` makes them.

    Raises:
        UserError: if the file is damaged, or holds something else.
    """
    advice = "run python -m finetune.evaluate again"
    try:
        table = pd.read_parquet(path, columns=[*_NAMES, *_NUMBERS])
    except (OSError, ValueError) as error:  # of pandas and pyarrow, whose words may quote a patient's row
        raise UserError(f"{path}: no predictions with {', '.join((*_NAMES, *_NUMBERS))}; {advice}") from error
    words = next((name for name in _NUMBERS if not pd.api.types.is_numeric_dtype(table[name])), None)
    if words is not None:
        raise UserError(f"{path}: '{words}' holds words, not numbers; {advice}")
    return table[table["split"] == "test"]
