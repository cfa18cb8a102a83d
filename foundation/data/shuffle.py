"""A negative control: patients put together from modalities of different patients."""

from collections.abc import Sequence
from typing import Any

import torch

from foundation.data.cohort import Cohort
from foundation.data.dataset import PatientDataset
from foundation.data.sampler import generator_of


class ShuffledPairs(PatientDataset):
    """Each modality of a patient comes from another patient of the same hospital who has it.

    Hospital, and what each patient has, stay as they are; only the link between one patient's modalities is broken.

    Args:
        cohort: prepared.
        patients: ids, in order.
        modalities: those to read.
        seed: of the exchange.
    """

    def __init__(self, cohort: Cohort, patients: Sequence[str], modalities: Sequence[str], seed: int) -> None:
        super().__init__(cohort, patients, modalities)
        self.givers: dict[tuple[str, str], str] = {}
        for hospital, members in cohort.patients.loc[self.patients].groupby("hospital"):
            for name in self.modalities:
                holders = members.index[members[name].astype(bool)].tolist()
                # Everybody gives to the next one of a random ring, so nobody keeps their own unless alone.
                order = torch.randperm(len(holders), generator=generator_of(seed, "shuffle", str(hospital), name))
                ring = [holders[index] for index in order.tolist()]
                for patient, giver in zip(ring, ring[1:] + ring[:1], strict=True):
                    self.givers[patient, name] = giver

    def sample(self, patient: str) -> dict[str, Any]:
        sample = super().sample(patient)
        return {name: super(ShuffledPairs, self).sample(self.givers[patient, name])[name] for name in sample}
