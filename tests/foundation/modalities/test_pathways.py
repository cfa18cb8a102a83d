from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.encoder import MultimodalEncoder
from foundation.errors import UserError
from foundation.modalities.genomics.pathways import PathwayGenomics

GENES = ["A", "B", "C", "D", "E"]


@pytest.fixture
def gmt(tmp_path: Path) -> Path:
    path = tmp_path / "sets.gmt"
    path.write_text("ONE\tfirst\tA\tB\nTWO\t\tC\tD\tUNKNOWN\nFEW\t\tE\tUNKNOWN\n")
    return path


def raw(**measured: float) -> dict[str, np.ndarray]:
    values = {channel: np.full(5, np.nan, np.float32) for channel in ("expression", "mutations", "copy_number")}
    for gene, value in measured.items():
        values["expression"][GENES.index(gene)] = value
    return values


def tokens(module: PathwayGenomics, **measured: float):
    return module(module.collate([module.transform(raw(**measured), None)]))


def test_a_token_a_pathway_that_sees_its_own_genes_alone(gmt: Path):
    module = PathwayGenomics(8, GENES, str(gmt), fewest=2).eval()
    assert module.sets == {"ONE": ["A", "B"], "TWO": ["C", "D"]}
    base, changed = tokens(module, A=1, B=2, C=3), tokens(module, A=1, B=2, C=5)
    assert base.values.shape == (1, 2, 8) and base.mask.all()
    torch.testing.assert_close(base.values[:, 0], changed.values[:, 0])
    assert not torch.allclose(base.values[:, 1], changed.values[:, 1])
    torch.testing.assert_close(tokens(module, A=1, B=2, C=3, E=9).values, base.values)


def test_an_unmeasured_pathway_is_no_token(gmt: Path):
    module = PathwayGenomics(8, GENES, str(gmt), fewest=2).eval()
    assert tokens(module, A=1).mask.tolist() == [[True, False]]
    assert tokens(module, D=1).mask.tolist() == [[False, True]]
    nobody = tokens(module, E=1)
    assert nobody.mask.tolist() == [[True, False]] and nobody.values.isfinite().all()


def test_gene_sets_travel_with_the_encoder(gmt: Path, tmp_path: Path):
    encoder = MultimodalEncoder({"genomics": PathwayGenomics(8, GENES, str(gmt), fewest=2)}, 8)
    encoder.save_pretrained(tmp_path / "encoder")
    gmt.unlink()
    again = MultimodalEncoder.from_pretrained(tmp_path / "encoder").modalities["genomics"]
    assert again.sets == encoder.modalities["genomics"].sets
    module = encoder.modalities["genomics"].eval()
    torch.testing.assert_close(tokens(again, A=1, C=2).values, tokens(module, A=1, C=2).values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file; give gene sets in GMT form"),
        ("ONE\tfirst\n", "line 1: found 'ONE\\tfirst'"),
        ("ONE\t\tA\nONE\t\tB\n", "line 2: gene set 'ONE' a second time"),
        ("ONE\t\tX\tY\n", "none of 1 sets has 2 of the cohort's 5 genes"),
    ],
)
def test_gene_sets_that_cannot_be_used_are_one_line(tmp_path: Path, content: str | None, said: str):
    path = tmp_path / "bad.gmt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        PathwayGenomics(8, GENES, str(path), fewest=2)
    assert said in str(caught.value) and "\n" not in str(caught.value)
