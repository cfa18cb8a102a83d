"""Configs become objects: the module that hospitals train together, and whose patients teach it."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from finetune.assemble import build_head, encoder_folder
from finetune.federated.module import FederatedModule
from finetune.federated.parcel import MODELS, digest_of_files, packed_encoder
from finetune.heads.base import Head
from finetune.patients import patients_with_target
from foundation.command import plain
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from foundation.engine.trainer import seeded
from foundation.errors import UserError
from foundation.files import read_json
from foundation.modalities.choice import chosen


def settle(cfg: DictConfig) -> None:
    """Fills in what follows from the encoder: its digest, and the modalities that the task looks at, which sites judge.

    Raises:
        UserError: if the task or the data name one that the encoder lacks, each names others, or there is no encoder.
    """
    folder, _ = encoder_folder(Path(cfg.pretrained))
    known = list(read_json(folder / "config.json", "give the output folder of a pretraining run")["modalities"])
    wanted, setting = known, "task.modalities"
    if cfg.task.modalities is not None:
        wanted = [str(name) for name in cfg.task.modalities]
    if cfg.data.modalities is not None:
        listed = [str(name) for name in cfg.data.modalities]
        if cfg.task.modalities is not None and listed != wanted:
            raise UserError(f"data.modalities: found {listed}, but task.modalities is {wanted}; name them once")
        wanted, setting = listed, "data.modalities"
    OmegaConf.update(cfg, "data.modalities", chosen(setting, wanted, known))
    OmegaConf.update(cfg, "encoder", digest_of_files(packed_encoder(folder)))


def build_module(cfg: DictConfig, home: Path | None, start_step: int, total_steps: int) -> FederatedModule:
    """Encoder and head from their files and the seed.

    Args:
        cfg: of the run.
        home: a site's own folder, where an encoder lies that came by message; None where the run is begun.
        start_step: steps of the whole run already taken.
        total_steps: of the whole run.

    Raises:
        UserError: if there is no encoder here, or another one than the run's.
    """
    received = None if home is None else home / MODELS / str(cfg.encoder)
    path = received if received is not None and received.is_dir() else Path(cfg.pretrained)
    folder, _ = encoder_folder(path)
    if digest_of_files(packed_encoder(folder)) != cfg.encoder:
        raise UserError("pretrained: the encoder here is another one than the run's; give every site the same folder")
    encoder = MultimodalEncoder.from_pretrained(folder)
    with seeded(cfg.seed):
        head = build_head(cfg.task, encoder.width)
    settings = plain(cfg.optimizer)
    if cfg.frozen:
        encoder.look_at_all()  # it learns nothing from seeing less
    module = FederatedModule(encoder, head, cfg.frozen, **settings, total_steps=total_steps, start_step=start_step)
    module.train()
    return module


def head_of(cfg: DictConfig) -> Head:
    """The task's head without an encoder: what it says of targets depends on no weights."""
    return build_head(cfg.task, 1)


def usable_patients(cfg: DictConfig, cohort: Cohort, patients: list[str], head: Head) -> PatientDataset:
    """Those of some patients whose targets the head can use and who have something that the task looks at."""
    hidden = plain(cfg.task.drop_inputs) if cfg.task.drop_inputs else {}
    return patients_with_target(cohort, patients, head, list(cfg.data.modalities), hidden)
