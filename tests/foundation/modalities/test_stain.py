"""Stain jitter: nothing at no strength, the same by seed, and a stain's change where that stain is."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.stain import draw_stain, restain


def jitter_stain(tiles: torch.Tensor, strength: float, generator: torch.Generator | None = None) -> torch.Tensor:
    return restain(tiles, draw_stain(len(tiles), strength, generator))


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed)) / 255


def test_no_strength_changes_nothing():
    torch.testing.assert_close(jitter_stain(images(), 0.0), images(), atol=1e-5, rtol=0)


def test_a_generator_says_what_is_drawn():
    first, second, other = (jitter_stain(images(), 0.1, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@given(st.integers(0, 2**31), st.floats(0, 0.5))
@settings(deadline=None, max_examples=50)
def test_colours_stay_colours(seed, strength):
    changed = jitter_stain(images(seed=seed), strength, torch.Generator().manual_seed(seed))
    assert changed.shape == (4, 3, 8, 8)
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert ((changed >= 0) & (changed <= 1)).all()


def test_each_image_draws_for_itself():
    same = images(1).expand(3, -1, -1, -1)
    changed = jitter_stain(same, 0.1, torch.Generator().manual_seed(0))
    assert not torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[1], changed[2])


def test_the_change_is_affine_in_each_stains_density():
    hed = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=torch.float64)
    hed = hed / hed.norm(dim=1, keepdim=True)
    amounts = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.2 + 0.1
    stained = torch.pow(10, -torch.einsum("nshw,sc->nchw", amounts, hed))
    changed = jitter_stain(stained, 0.05, torch.Generator().manual_seed(3))
    found = torch.einsum("nchw,cs->nshw", -torch.log10(changed), torch.linalg.inv(hed))
    for image in range(2):
        for stain in range(3):
            before, after = amounts[image, stain].flatten(), found[image, stain].flatten()
            design = torch.stack([before, torch.ones_like(before)], 1)
            gain, shift = torch.linalg.lstsq(design, after[:, None]).solution[:, 0]
            torch.testing.assert_close(gain * before + shift, after)
            assert abs(float(gain) - 1) <= 0.05
            assert abs(float(shift)) <= 0.05


def test_training_gives_all_tiles_of_a_patient_one_stain_and_inference_none():
    modality = Pathology(8, backbone="test_resnet", size=32, stain_jitter=0.2, colour_jitter=0.0)
    raw = np.random.default_rng(0).integers(60, 256, (3, 32, 32, 3), dtype=np.uint8)
    drawn = modality.transform(raw, torch.Generator().manual_seed(1))
    assert drawn["stain"].shape == (3, 2, 3)
    assert torch.equal(drawn["stain"][0], drawn["stain"][2])
    tiles = drawn["images"].permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(modality.recolour(tiles, drawn), restain(tiles, drawn["stain"]))
    assert "stain" not in modality.transform(raw, None)
    assert modality.settings()["stain_jitter"] == 0.2


def test_without_strength_training_draws_as_if_there_were_no_stain():
    raw = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    drawn = Pathology(8, backbone="test_resnet", size=32).transform(raw, torch.Generator().manual_seed(1))
    assert sorted(drawn) == ["colour", "images", "mask"]
