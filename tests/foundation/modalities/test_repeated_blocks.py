import timm
import torch

from foundation.encoder import MultimodalEncoder
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.report.encoder import Report
from foundation.modalities.tuning import repeated_blocks

WIDTH = 32


def test_blocks_of_a_transformer_are_told_from_the_stages_of_a_convolutional_network():
    transformer = timm.create_model("test_vit", num_classes=0)
    assert repeated_blocks(transformer) == list(transformer.blocks)
    text = Report(WIDTH, layers=3).text
    assert repeated_blocks(text) == list(text.encoder.layer)
    assert repeated_blocks(timm.create_model("resnet10t", num_classes=0)) == []


def test_blocks_alike_are_compiled_once_and_weights_keep_their_names():
    torch.manual_seed(0)
    modalities = {
        "pathology": Pathology(WIDTH, backbone="test_vit", size=32, max_images=2),
        "report": Report(WIDTH, layers=3),
    }
    encoder = MultimodalEncoder(modalities, WIDTH, fusion_layers=1).eval()
    names = list(encoder.state_dict())
    batch = encoder.encode_samples(
        [{"report": "Dense tumour."}, {"pathology": torch.zeros(2, 32, 32, 3).byte().numpy()}]
    )
    graphs = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]):
        graphs.append(graph)
        return graph.forward

    with torch.no_grad():
        plain = encoder(batch).fused
        torch._dynamo.reset()
        encoder.compile_backbones(backend=counting)
        compiled = encoder(batch).fused
    torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=0)
    assert len(graphs) == 2, "one for all blocks of the images' backbone, one for all layers of the text's"
    assert list(encoder.state_dict()) == names
