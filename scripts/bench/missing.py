"""Step time of a batch whose patients lack half of their modalities, beside one whose patients have them all.

`python scripts/bench/missing.py` times forward, objectives and backward on batches of random patients with five
modalities, and of the same patients with every modality hidden from a random half of them.
"""

import argparse

import foundation  # noqa: F401  # isort: skip
import hydra
import numpy as np
import torch
from patients import DICTIONARY, patient
from side_by_side import ratio, take_turns

from foundation.batch import Batch
from foundation.data.sampler import generator_of
from pretrain.assemble import build_encoder, build_objectives
from pretrain.module import PretrainModule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--settings", nargs="*", default=["experiment=demo"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose("pretrain", arguments.settings)
    encoder = build_encoder(cfg, DICTIONARY).train()
    module = PretrainModule(encoder, build_objectives(cfg))
    rng = np.random.default_rng(0)
    whole = [patient(rng) for _ in range(arguments.patients)]
    hidden = {name: set(rng.permutation(arguments.patients)[: arguments.patients // 2]) for name in whole[0]}
    half = [
        {name: value for name, value in sample.items() if index not in hidden[name]}
        for index, sample in enumerate(whole)
    ]
    batches = {
        name: encoder.encode_samples(rows, generators=[generator_of(0, index) for index in range(len(rows))])
        for name, rows in (("full", whole), ("half", half))
    }

    def step(batch: Batch) -> None:
        output = encoder(batch)
        terms = [objective(encoder, output, batch) for objective in module.objectives.values()]
        torch.stack([term.loss for term in terms if term is not None]).sum().backward()
        module.zero_grad()

    seconds = take_turns({name: lambda batch=batch: step(batch) for name, batch in batches.items()}, arguments.rounds)
    tokens = {
        name: sum(encoder.modalities[modality].count_tokens(inputs) for modality, inputs in batch.inputs.items())
        for name, batch in batches.items()
    }
    for name, values in seconds.items():
        print(f"{name}: median {1000 * sorted(values)[len(values) // 2]:.0f} ms, {tokens[name]} tokens")
    print(f"half-empty batch: {ratio(seconds['half'], seconds['full'])} of a full one (bar: at most 0.65×)")


if __name__ == "__main__":
    main()
