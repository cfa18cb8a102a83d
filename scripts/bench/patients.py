"""Patients for benchmarks: random values in the shapes of real ones."""

from typing import Any

import numpy as np

from foundation.data.dictionary import DataDictionary

DICTIONARY = DataDictionary.model_validate(
    {
        "genes": [f"GENE{index}" for index in range(2000)],
        "expression_unit": "zscore",
        "record": [{"name": f"column{index}", "kind": "continuous"} for index in range(8)],
    }
)
_WORDS = ("tumour", "cells", "necrosis", "atypia", "mitoses", "margin", "grade", "high", "low", "sheets", "dense", "of")


def patient(rng: np.random.Generator, size: int = 64, images: int = 2) -> dict[str, Any]:
    """One patient with all five modalities."""
    genes = len(DICTIONARY.genes)
    return {
        "pathology": rng.integers(0, 255, (images, size, size, 3), dtype=np.uint8),
        "radiology": rng.integers(0, 255, (images, size, size, 3), dtype=np.uint8),
        "genomics": {
            "expression": rng.normal(size=genes).astype(np.float32),
            "mutations": (rng.random(genes) < 0.02).astype(np.float32),
            "copy_number": rng.integers(-2, 3, genes).astype(np.float32),
        },
        "report": " ".join(rng.choice(_WORDS, 40)),
        "record": {column.name: float(rng.normal()) for column in DICTIONARY.record},
    }
