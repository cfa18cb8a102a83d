"""Assembly of a run from its config: the cohort's parts, the encoder, the objectives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from foundation.command import instantiate
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.dictionary import DataDictionary
from foundation.data.shuffle import ShuffledPairs
from foundation.data.splits import Split, configured_split
from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.lineage import note_of
from foundation.modalities.choice import chosen
from foundation.objectives.base import Objective


def load_cohort(cfg: DictConfig, hospitals: list[str] | None = None) -> tuple[Cohort, Split]:
    """The prepared cohort and its split: whole hospitals held out, a share of the others' patients for validation.

    Args:
        cfg: the resolved config.
        hospitals: open their files alone; everybody's if None.
    """
    cohort = Cohort(Path(cfg.data.folder), hospitals)
    return cohort, configured_split(cohort, cfg.data)


def trained_patients(cfg: DictConfig, cohort: Cohort, parts: Split, output: Path) -> dict[str, Any]:
    """Writes whom a run learns from, and gives what its record says of them.

    Nobody where weights stay as seeded and no words of reports are learnt, which come from patients, too.
    """
    nobody = cfg.untrained and cfg.vocabulary == "shipped"
    train, validation = ([], []) if nobody else (parts.train, parts.validation)
    return note_of(output, train, validation, cohort.patients.loc[[*train, *validation], "hospital"].tolist())


def datasets(
    cfg: DictConfig, cohort: Cohort, parts: Split, modalities: list[str]
) -> tuple[PatientDataset, PatientDataset]:
    """Train and validation patients, with those of the encoder's modalities that `data.modalities` lets through.

    Raises:
        UserError: if there is nobody to train on, or a modality is none of the encoder's.
    """
    wanted = modalities
    if cfg.data.modalities is not None:
        wanted = chosen("data.modalities", cfg.data.modalities, modalities)
    if cfg.data.shuffle_pairs:
        train: PatientDataset = ShuffledPairs(cohort, parts.train, wanted, cfg.seed)
    else:
        train = PatientDataset(cohort, parts.train, wanted)
    if not train:
        raise UserError(
            f"{', '.join(cohort.hospitals)}: no patient to train on; check data.test_hospitals and the modalities"
        )
    return train, PatientDataset(cohort, parts.validation, wanted)


def learn_vocabularies(cfg: DictConfig, cohort: Cohort, train: Sequence[str]) -> DictConfig:
    """The config with what its modalities take from the training patients, such as the words of their reports.

    Not for federations: nobody there sees all patients, and all need one vocabulary.

    Raises:
        UserError: on a `vocabulary` that is none.
    """
    if cfg.vocabulary not in ("training", "shipped"):
        raise UserError(f"vocabulary: found {cfg.vocabulary!r}; choose training or shipped")
    cfg = cfg.copy()
    if cfg.vocabulary == "shipped":
        return cfg
    for name, entry in cfg.modality.items():
        if cfg.data.modalities is None or name in cfg.data.modalities:
            kind = instantiate({"_target_": "hydra.utils.get_class", "path": entry._target_})
            for key, value in kind.learn(entry, cohort.values(train, str(name))).items():
                OmegaConf.update(cfg, f"modality.{name}.{key}", value, force_add=True)
    return cfg


def build_encoder(cfg: DictConfig, dictionary: DataDictionary) -> MultimodalEncoder:
    """The encoder that the config describes, its vocabularies from the data dictionary."""
    width = cfg.encoder.width
    modalities = {}
    for name, entry in cfg.modality.items():
        kind = instantiate({"_target_": "hydra.utils.get_class", "path": entry._target_})
        modalities[str(name)] = instantiate(entry, width=width, **kind.needs(dictionary), _convert_="all")
    size = cfg.encoder
    return MultimodalEncoder(modalities, size.width, size.fusion_layers, size.dropout, size.patients_at_once)


def build_objectives(cfg: DictConfig) -> dict[str, Objective]:
    """Objectives by name; those whose modality is not configured would never speak, so they are an error."""
    objectives = {str(name): instantiate(entry, width=cfg.encoder.width) for name, entry in cfg.objective.items()}
    for name, objective in objectives.items():
        for modality in objective.modalities:
            if modality not in cfg.modality:
                raise UserError(f"objective.{name}: needs modality.{modality}; remove it with ~objective.{name}")
    return objectives
