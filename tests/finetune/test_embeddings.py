"""Embeddings of a frozen encoder: the head learns from them what it learns from inputs, and nobody is encoded twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune.embeddings import EmbeddingTable, digest_of_embeddings
from finetune.fit import fit
from finetune.heads.classification import Classification
from finetune.module import FinetuneModule
from foundation.batch import Batch
from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.encoder import MultimodalEncoder
from tests.finetune.test_fit import configured


@pytest.fixture
def parts(cohort: Cohort, build) -> Callable[..., tuple[MultimodalEncoder, PatientDataset, PatientDataset]]:
    def made(drop_inputs: dict[str, list[str]] | None = None):
        encoder = build().encoder
        patients = list(cohort.patients.index)
        modalities = list(encoder.modalities)
        some = (patients[:40], patients[40:60])
        train, validation = (PatientDataset(cohort, few, modalities, ["biomarker"], drop_inputs) for few in some)
        return encoder, train, validation

    return made


def trained(output: Path, parts: tuple, *overrides: str) -> FinetuneModule:
    torch.manual_seed(0)
    encoder, train, validation = parts
    unfitted = ["reliability=null", "calibration=null"]  # both look at validation patients by subset
    cfg = configured(output, "frozen=true", "steps=18", "validate_every=6", *unfitted, *overrides)
    return fit(cfg, encoder, Classification(encoder.width, "biomarker"), train, validation)[0]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """What the encoder has been given."""
    batches: list[Batch] = []
    encode = MultimodalEncoder._encode

    def noted(encoder: MultimodalEncoder, batch: Batch):
        batches.append(batch)
        return encode(encoder, batch)

    monkeypatch.setattr(MultimodalEncoder, "_encode", noted)
    return batches


@pytest.mark.parametrize("modality_dropout", [0.0, 0.5])
def test_a_head_learns_from_kept_embeddings_what_it_learns_from_inputs(parts, tmp_path, modality_dropout):
    # 18 steps of 8 of 40 patients: into the fourth epoch, each with its own subsets where modalities are dropped.
    dropout = f"data.modality_dropout={modality_dropout}"
    kept = trained(tmp_path / "kept", parts(), dropout)
    anew = trained(tmp_path / "anew", parts(), dropout, "embeddings=null")
    for name, value in anew.head.state_dict().items():
        torch.testing.assert_close(kept.head.state_dict()[name], value, atol=1e-6, rtol=1e-6)


def test_each_patient_is_encoded_once_however_many_epochs_there_are(parts, tmp_path, encoded):
    encoder, train, validation = parts()
    trained(tmp_path / "run", (encoder, train, validation), "data.modality_dropout=0.0")
    patients = len(train) + len(validation)
    assert sum(len(batch) for batch in encoded) == patients
    trained(
        tmp_path / "other",
        (encoder, train, validation),
        "data.modality_dropout=0.0",
        f"embeddings={tmp_path}/run/embeddings",
    )
    assert sum(len(batch) for batch in encoded) == patients, "another run takes them up"
    trained(
        tmp_path / "run",
        (encoder, train, validation),
        "data.modality_dropout=0.5",
        f"embeddings={tmp_path}/run/embeddings",
    )
    table = EmbeddingTable(tmp_path / "run" / "embeddings" / digest_of_embeddings(encoder, (train, validation)))
    assert sum(len(batch) for batch in encoded) == len(table.rows) > patients, "subsets are added to it"
    assert {names for _, names in table.rows} > {tuple(encoder.modalities)}


def test_the_digest_names_all_that_an_embedding_depends_on(parts):
    encoder, *some = parts()
    digests = [digest_of_embeddings(encoder, some)]
    assert digests == [digest_of_embeddings(*((parts()[0], parts()[1:])))]
    digests.append(digest_of_embeddings(encoder, parts({"record": ["age"]})[1:]))
    digests.append(digest_of_embeddings(encoder, some[::-1]))
    fewer = [PatientDataset(part.cohort, part.patients, ["record"], part.targets) for part in some]
    digests.append(digest_of_embeddings(encoder, fewer))
    with torch.no_grad():
        encoder.fusion.patient[0] += 1e-3
    digests.append(digest_of_embeddings(encoder, some))
    assert len(set(digests)) == len(digests)


def test_an_augmented_run_encodes_anew(parts, tmp_path, encoded):
    trained(tmp_path / "run", parts(), "data.augment=true", "data.modality_dropout=0.0")
    assert sum(len(batch) for batch in encoded) > 18 * 8
    assert not (tmp_path / "run" / "embeddings").exists()
