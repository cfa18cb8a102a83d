import math

import pytest
import torch

from foundation.objectives.alignment import Alignment, info_nce
from foundation.objectives.masked_genes import MaskedGenes
from foundation.retrieval import recall_at


def test_info_nce_of_indistinguishable_pairs_is_the_log_of_their_number():
    same = torch.nn.functional.normalize(torch.ones(8, 4), dim=-1)
    assert info_nce(same, same, torch.tensor(10.0)).item() == pytest.approx(math.log(8), abs=1e-5)


def test_alignment_counts_only_patients_with_a_pair(encoder, samples):
    batch = encoder.encode_samples(samples)
    term = Alignment(32)(encoder, encoder(batch), batch)
    assert term is not None
    # Pairs of at least two patients: pathology-genomics (1, 3) and genomics-record (2, 3).
    assert term.samples == {"pathology": 2, "genomics": 3, "record": 2, "fusion": 3}


def test_alignment_is_silent_without_pairs(encoder, samples):
    batch = encoder.encode_samples([samples[0], samples[0]])
    assert Alignment(32)(encoder, encoder(batch), batch) is None


def test_masked_genes_learns_only_where_something_is_hidden(encoder, samples):
    objective = MaskedGenes(32)
    batch = encoder.encode_samples(samples)
    assert objective(encoder, encoder(batch), batch) is None
    batch.inputs["genomics"]["masked"][0, 0] = True
    term = objective(encoder, encoder(batch), batch)
    assert term is not None and term.samples == {"genomics": 1}


def test_recall_counts_ties_against_us():
    identity = torch.eye(10)
    assert recall_at(identity, identity, 1) == (1.0, 0.1)
    constant = torch.ones(10, 3)
    assert recall_at(constant, constant, 5) == (0.0, 0.5)
