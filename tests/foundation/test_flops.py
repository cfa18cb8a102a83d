"""The count of a step's operations, beside what its layers' shapes say."""

import pytest
import timm
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from foundation.engine.throughput import flop_counter


def counted(model: torch.nn.Module, inputs: torch.Tensor) -> int:
    with flop_counter() as counter:
        model(inputs).sum().backward()
    return counter.get_total_flops()


def test_attention_counts_whichever_kernel_computes_it():
    shape = (2, 3, 16, 32)  # sets, heads, tokens, width of a head
    query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 3 * 16 * 16 * 32
    with flop_counter() as fused:
        functional.scaled_dot_product_attention(query, key, value)
    with flop_counter() as written_out, sdpa_kernel(SDPBackend.MATH):
        functional.scaled_dot_product_attention(query, key, value)
    assert fused.get_total_flops() == written_out.get_total_flops() == 2 * product
    with flop_counter() as whole:
        functional.scaled_dot_product_attention(query, key, value).sum().backward()
    assert whole.get_total_flops() == (2 + 5) * product, "the backward pass computes one product again"


def test_a_vision_transformers_step_is_what_its_shapes_say():
    model = timm.create_model("test_vit", num_classes=0, img_size=32)
    images = torch.randn(3, 3, 32, 32)
    width, tokens, depth = model.embed_dim, 5, len(model.blocks)
    patches = 2 * 3 * 4 * width * 3 * 16 * 16
    matrices = sum(p.numel() for block in model.blocks for p in block.parameters() if p.ndim == 2)
    linear = 2 * 3 * tokens * matrices
    attention = depth * 2 * 3 * tokens * tokens * width
    # Backward costs twice the forward pass, but for the patches, whose pixels need no gradient.
    assert counted(model, images) == pytest.approx(2 * patches + 3 * linear + (2 + 5) * attention, rel=1e-9)


def test_a_compiled_step_counts_as_it_does_otherwise():
    model = timm.create_model("test_vit", num_classes=0, img_size=32)
    images = torch.randn(2, 3, 32, 32)
    plain = counted(model, images)
    model.compile(backend="aot_eager")
    model(images).sum().backward()
    assert counted(model, images) == plain
