"""Plain features of each modality: as many numbers as it says, of each patient alone."""

import pytest
import torch

from foundation.errors import UserError
from foundation.modalities.genomics.encoder import Genomics
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.pathology.features import TileFeatures
from foundation.modalities.record.encoder import Record
from foundation.modalities.report.encoder import Report

COLUMNS = [
    {"name": "age", "kind": "continuous", "center": 60, "scale": 10},
    {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
]


def images(*counts: int) -> list:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (count, 64, 64, 3), generator=generator, dtype=torch.uint8).numpy() for count in counts]


@pytest.fixture
def layered() -> Pathology:
    torch.manual_seed(0)
    return Pathology(8, backbone="test_resnet", size=64, feature_layers=["layer1", "layer3"]).eval()


@pytest.mark.parametrize("layers", [[], ["layer2"], ["layer1", "layer3"], ["layer1+layer3"]])
def test_images_are_described_by_the_mean_over_a_patients_images(layers: list[str]):
    torch.manual_seed(0)
    module = Pathology(8, backbone="test_resnet", size=64, feature_layers=layers).eval()
    one, two = images(1, 3)
    inputs = module.collate([module.transform(one, None), module.transform(two, None)])
    with torch.no_grad():
        together = module.features(inputs)
        parts = [
            module.features(module.collate([module.transform(two[index : index + 1], None)])) for index in range(3)
        ]
    assert {name: values.shape[1] for name, values in together.items()} == module.feature_sizes()
    for name, values in together.items():
        mean = torch.stack([part[name][0] for part in parts]).mean(dim=0)
        torch.testing.assert_close(values[1], mean, atol=1e-4, rtol=1e-4)


def test_a_layers_features_are_mean_and_spread_over_places(layered: Pathology):
    inputs = layered.collate([layered.transform(images(1)[0], None)])
    seen = {}
    layered.backbone.layer1.register_forward_hook(lambda module, inputs, output: seen.update(layer1=output))
    with torch.no_grad():
        features = layered.features(inputs)["pathology.layer1"][0]
    wanted = torch.cat([seen["layer1"][0].mean(dim=(1, 2)), seen["layer1"][0].std(dim=(1, 2), correction=0)])
    torch.testing.assert_close(features, wanted)


def test_joined_layers_are_one_block_of_the_features_of_both(layered: Pathology):
    joined = Pathology(**layered.settings() | {"feature_layers": ["layer1+layer3"]}).eval()
    joined.load_state_dict(layered.state_dict())
    inputs = layered.collate([layered.transform(images(1)[0], None)])
    with torch.no_grad():
        two, one = layered.features(inputs), joined.features(inputs)
    assert list(one) == ["pathology.layer1+layer3"]
    together = torch.cat([two["pathology.layer1"], two["pathology.layer3"]], dim=1)
    torch.testing.assert_close(one["pathology.layer1+layer3"], together)


@pytest.mark.parametrize("layers", [[], ["layer2"]])
def test_flipped_features_are_the_mean_of_four_and_know_no_up(layers: list[str]):
    torch.manual_seed(0)
    plain = Pathology(8, backbone="test_resnet", size=64, feature_layers=layers).eval()
    flipped = Pathology(**plain.settings() | {"feature_flips": True}).eval()
    flipped.load_state_dict(plain.state_dict())
    (image,) = images(1)
    mirrors = [image, image[:, :, ::-1].copy(), image[:, ::-1].copy(), image[:, ::-1, ::-1].copy()]

    def described(module: Pathology, pixels) -> torch.Tensor:
        with torch.no_grad():
            (values,) = module.features(module.collate([module.transform(pixels, None)])).values()
        return values[0]

    four = torch.stack([described(plain, one) for one in mirrors])
    assert (four[0] - four[1]).abs().max() > 1e-3, "the network sees them otherwise"
    for one in mirrors:
        torch.testing.assert_close(described(flipped, one), four.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_layers_travel_with_the_encoder(layered: Pathology):
    assert Pathology(**layered.settings()).feature_sizes() == layered.feature_sizes()


def test_a_layer_that_is_none_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^modality.pathology.feature_layers: the backbone has no layer 'layer9'"):
        Pathology(8, backbone="test_resnet", size=64, feature_layers=["layer1+layer9"])


def test_tiles_are_described_by_mean_and_spread():
    module = TileFeatures(8, dim=3)
    tiles = torch.tensor([[1.0, 2, 3], [3, 2, 1], [5, 2, 2]]).numpy()
    inputs = module.collate([module.transform(tiles, None), module.transform(tiles[:1], None)])
    (values,) = module.features(inputs).values()
    assert module.feature_sizes() == {"pathology": 6}
    torch.testing.assert_close(values[0], torch.tensor([3, 2, 2, (8 / 3) ** 0.5, 0, (2 / 3) ** 0.5]))
    torch.testing.assert_close(values[1], torch.tensor([1.0, 2, 3, 0, 0, 0]))


def test_a_record_is_numbers_and_categories_and_nan_where_unknown():
    module = Record(8, COLUMNS)
    rows = [{"age": 70.0, "sex": "M"}, {"sex": "F"}, {"age": 50.0}]
    (values,) = module.features(module.collate([module.transform(row, None) for row in rows])).values()
    nan = float("nan")
    torch.testing.assert_close(values, torch.tensor([[1.0, 0, 1], [nan, 1, 0], [-1, nan, nan]]), equal_nan=True)
    assert module.feature_sizes() == {"record": 3}


def test_a_report_is_the_counts_of_its_pieces():
    module = Report(8, layers=1)
    inputs = module.collate([module.transform(text, None) for text in ("tumor tumor", "tumor of the left lobe")])
    (values,) = module.features(inputs).values()
    assert values.shape[1] == module.feature_sizes()["report"]
    for row in range(2):
        counted = torch.bincount(inputs["pieces"][row][inputs["mask"][row]], minlength=values.shape[1])
        torch.testing.assert_close(values[row].expm1(), counted.float(), atol=1e-5, rtol=1e-5)


def test_genes_are_as_measured_a_block_a_channel():
    module = Genomics(8, ["TP53", "EGFR"])
    raw = module.blank()
    raw["expression"][:] = [1.5, -2]
    blocks = module.features(module.collate([module.transform(raw, None)]))
    assert list(blocks) == list(module.feature_sizes())
    torch.testing.assert_close(blocks["genomics.expression"], torch.tensor([[1.5, -2.0]]))
    assert blocks["genomics.mutations"].isnan().all()
