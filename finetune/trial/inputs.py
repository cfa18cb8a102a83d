"""What a run's model is shown of its patients, so that no outcome of a trial is one of its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json
from foundation.run_record import walk

_RECORD = "record"
_ADVICE = "run python -m finetune again"


@dataclass(frozen=True)
class ModelInputs:
    """Modalities that a model looks at, and what of them is hidden from it.

    Attributes:
        modalities: by name; None where no run says it.
        hidden: a task's `drop_inputs`: by genomics channel symbols, under `record` columns.
    """

    modalities: tuple[str, ...] | None = None
    hidden: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: Path) -> "ModelInputs":
        """Those of the model that made a run's predictions.

        Raises:
            UserError: if a file of a run that it builds on is gone or damaged.
        """
        asked: dict[str, object] | None = None  # of a cross-validation, which keeps no model
        for folder, record, _ in walk(run):
            if (folder / "task.json").is_file():
                task = read_json(folder / "task.json", _ADVICE, "modalities", "drop_inputs")
                return cls(tuple(task["modalities"]), task["drop_inputs"])
            asked = asked or record["config"].get("task")
            encoder = folder / "encoder" / "config.json"
            if asked and not asked.get("modalities") and encoder.is_file():
                asked = {**asked, "modalities": list(read_json(encoder, _ADVICE, "modalities")["modalities"])}
        chosen, hidden = ((asked or {}).get(name) for name in ("modalities", "drop_inputs"))
        return cls(
            tuple(map(str, chosen)) if isinstance(chosen, Sequence) else None,
            hidden if isinstance(hidden, Mapping) else {},
        )

    def reads_record(self, column: str) -> bool:
        """Whether a column of the record is an input; so it counts where nothing says what is one."""
        looks = self.modalities is None or _RECORD in self.modalities
        return looks and column not in self.hidden.get(_RECORD, [])

    @property
    def words(self) -> str:
        """The modalities, for a page."""
        return "an unknown set of modalities" if self.modalities is None else ", ".join(self.modalities)


def check_outcome(run: Path, outcome: str, record: Sequence[str]) -> None:
    """Refuses an outcome that stands fixed before a trial begins because the score is made of it.

    Args:
        run: folder of the predictions.
        outcome: column that a setting names.
        record: columns of the cohort's record.

    Raises:
        UserError: saying what it is and what to name instead.
    """
    if outcome == "score":
        raise UserError("tool.outcome: 'score' is the model's own; name what is measured after treatment begins")
    if outcome == "hospital":
        raise UserError("tool.outcome: 'hospital' is no outcome; name what is measured after treatment begins")
    if outcome in record and ModelInputs.of_run(run).reads_record(outcome):
        raise UserError(
            f"tool.outcome: the model of {run} reads '{outcome}' as an input, so its score would explain it before a "
            "trial begins; name what is measured afterwards, or hide it from the model (task.drop_inputs)"
        )


def label_doubt(run: Path, outcome: str | None, labels: Sequence[str]) -> list[str]:
    """What a page says of an outcome that is a label of the cohort, which other inputs may hold; else nothing."""
    if outcome not in labels:
        return []
    return [
        f"'{outcome}' is a label of the cohort, and the model reads {ModelInputs.of_run(run).words}. Where these hold "
        "it before a trial begins, as mutations hold a molecular status, the score explains what is known already, and "
        "these figures are too good: they are worth something for an outcome that is measured afterwards."
    ]
