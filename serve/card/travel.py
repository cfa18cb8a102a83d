"""The card that travels in a bundle: held to its records, and of the model that the bundle holds."""

from pathlib import Path

from foundation.errors import UserError
from foundation.run_record import walk
from serve.card.check import check

_ADVICE = "write it with python -m serve.card evaluation=... of this run"


def checked(folder: Path, run: Path) -> Path:
    """A card's folder, if it is whole and tells of a model.

    Args:
        folder: that `python -m serve.card` wrote into.
        run: output of the fine-tuning that made the model.

    Raises:
        UserError: if the card is none, is not as its records say, or tells of another model.
    """
    problems = check(folder)
    if problems:
        others = (
            f", and {len(problems) - 1} more; python -m serve.card check {folder} names all" if problems[1:] else ""
        )
        raise UserError(f"card: {problems[0]}{others}")
    if run.resolve() not in {record.folder for record in walk(folder)}:
        raise UserError(f"card: {folder} tells of another model than {run}; {_ADVICE}")
    return folder
