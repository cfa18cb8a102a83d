"""What of a patient a task model goes by, on patients whom it has not seen."""

from collections.abc import Callable
from pathlib import Path

from finetune.biomarkers.base import Part, who
from finetune.biomarkers.gene_part import gene_part
from finetune.biomarkers.markers import read_markers
from finetune.biomarkers.outcome import Outcome, outcome_of
from finetune.biomarkers.report_words import word_part
from finetune.biomarkers.scorer import Scorer
from finetune.biomarkers.settings import Settings
from finetune.biomarkers.shapley import shapley_part
from finetune.biomarkers.tiles import tile_part
from finetune.page import Page
from finetune.trial.base import Tool
from finetune.trial.patients import ScoredPatients
from foundation.errors import UserError
from foundation.modalities.genomics.pathways import read_gmt

# What each part looks at; None: at all modalities together.
_PARTS: dict[str, tuple[str | None, Callable[[Scorer, Outcome, Settings, int], Part]]] = {
    "genes": ("genomics", gene_part),
    "modalities": (None, shapley_part),
    "tiles": ("pathology", tile_part),
    "words": ("report", word_part),
}


class Attribution(Tool):
    """Attributions, each with its faithfulness, stability, and tests against permuted labels.

    Args:
        known: GMT file, or CSV with a column `gene`, of markers to stand beside the ranking.
        pathways: GMT file of gene sets; those of the model's own encoder if it has any and none is named.
        fewest: genes of a set that the model must read, or the set is left out.
        permutations: of labels within hospitals.
        level: rate of false discoveries.
        smallest: count of patients below which nothing is told or tested.
        top: of the ranking, on the page.
        resamples: of patients.
        others: output folders of `python -m finetune` with other seeds or folds, held against this ranking.
        patients: of whom, at most, modalities, tiles and words are taken away one by one.
        parts: of the page, those of `genes`, `modalities`, `tiles` and `words` whose modality the model reads.
        slide: HDF5 file of features and coordinates, or a slide's folder of preparation's cache, to be drawn.
    """

    def __init__(
        self,
        known: str | None = None,
        pathways: str | None = None,
        fewest: int = 5,
        permutations: int = 9999,
        level: float = 0.05,
        smallest: int = 5,
        top: int = 25,
        resamples: int = 200,
        others: list[str] | None = None,
        patients: int = 40,
        parts: list[str] | None = None,
        slide: str | None = None,
    ) -> None:
        self.parts = list(_PARTS) if parts is None else parts
        for name in self.parts:
            if name not in _PARTS:
                raise UserError(f"evidence.parts: found {name!r}; choose of {', '.join(_PARTS)}")
        for name, value, least in (
            ("fewest", fewest, 1),
            ("permutations", permutations, 99),
            ("smallest", smallest, 1),
            ("top", top, 1),
            ("resamples", resamples, 2),
            ("patients", patients, 2),
        ):
            if value < least:
                raise UserError(f"evidence.{name}: found {value}; give a count from {least}")
        if not 0 < level < 1:
            raise UserError(f"evidence.level: found {level}; give a rate between 0 and 1")
        self.settings = Settings(
            None if known is None else read_markers(Path(known)),
            None if pathways is None else read_gmt(Path(pathways), "evidence.pathways"),
            fewest,
            permutations,
            level,
            smallest,
            top,
            resamples,
            others or [],
            patients=patients,
            slide=None if slide is None else Path(slide),
        )

    def run(self, scored: ScoredPatients, seed: int) -> Page:
        scorer = Scorer(scored.model, scored.cohort, scored.output)
        seen = set(scorer.trained_on()) & set(scored.patients)
        if seen:
            raise UserError(
                f"split: the model has learnt from {len(seen)} of the patients; biomarkers are judged on others, so "
                "choose split=[test]"
            )
        outcome = outcome_of(scorer.head, scorer.output, scored.cohort, scored.patients)
        whole = Part()
        for name in self.parts:
            modality, part = _PARTS[name]
            if len(scorer.modalities) > 1 if modality is None else modality in scorer.modalities:
                whole += part(scorer, outcome, self.settings, seed)
        whole.sections.append(who(outcome, self.settings.smallest, scored.first))
        title = f"Biomarkers of {scorer.model.task['name']}: what the {scorer.words} goes by"
        return Page(title, whole.lead, whole.sections, whole.figures, scored.first, whole.files)
