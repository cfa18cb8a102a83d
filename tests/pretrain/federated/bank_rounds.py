"""Rounds with a bank, for tests."""

import json
from pathlib import Path

import numpy as np

from foundation.federation.ledger.files import load
from pretrain.federated.bank.settings import BankSettings

WIDTH = 4
HOSPITALS = ["riverside", "northgate", "lakeview", "summit"]


def settings(**changes) -> BankSettings:
    return BankSettings.read(**{"modalities": ("pathology", "genomics"), "epsilon": 8.0, "least": 2} | changes)


def rows(count: int = 3, seed: int = 0, names: tuple[str, ...] = ("pathology", "genomics"), width: int = WIDTH) -> dict:
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=(count, width)) for name in names}
    return {n: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for n, v in drawn.items()}


def history(folder: Path) -> list[dict]:
    return json.loads((folder / "history.json").read_text())["rounds"]


def entries(path: Path, way: str, kind: str = "embeddings", peer: str = "") -> list:
    found = [entry for entry in load(path).entries if (entry.kind, entry.direction) == (kind, way)]
    return [entry for entry in found if not peer or entry.peer == peer]
