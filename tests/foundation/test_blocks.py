import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.blocks import Blocks, pack

WIDTH = 32


@given(st.lists(st.integers(min_value=1, max_value=6), min_size=1, max_size=6), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_a_set_means_the_same_alone_and_beside_others(lengths: list[int], seed: int):
    torch.manual_seed(seed)
    blocks = Blocks(WIDTH, 2).eval()
    sets = [torch.randn(length, WIDTH) for length in lengths]
    owner = torch.repeat_interleave(torch.arange(len(sets)), torch.tensor(lengths))
    together = blocks(pack([(torch.cat(sets), owner)], len(sets)))
    for index, values in enumerate(sets):
        alone = blocks(pack([(values, torch.zeros(len(values), dtype=torch.long))], 1))
        torch.testing.assert_close(together.values[owner == index], alone.values, atol=1e-5, rtol=0)


def test_parts_come_together_by_owner_and_keep_their_order():
    first = (torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 2]))
    second = (torch.tensor([[4.0], [5.0], [6.0]]), torch.tensor([2, 0, 0]))
    packed = pack([first, second], 3)
    assert packed.values.flatten().tolist() == [1, 5, 6, 2, 3, 4]
    assert packed.layout.place.tolist() == [0, 1, 2, 0, 0, 1]
    assert packed.layout.longest == 3
    assert packed.first().flatten().tolist() == [1, 2, 3]


def test_linear_layers_see_real_tokens_alone():
    blocks = Blocks(WIDTH, 1)
    seen = []
    for layer in (blocks.layers[0].qkv, blocks.layers[0].feed.fc1):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    owner = torch.tensor([0] * 9 + [1])
    blocks(pack([(torch.randn(10, WIDTH), owner)], 2))
    assert seen == [10, 10], "two sets of at most 9 tokens would be 18 when padded"


def test_attention_is_that_of_a_plain_transformer_layer():
    torch.manual_seed(0)
    blocks = Blocks(WIDTH, 1).eval()
    ours = blocks.layers[0]
    plain = torch.nn.TransformerEncoderLayer(
        WIDTH, ours.heads, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    with torch.no_grad():
        plain.self_attn.in_proj_weight.copy_(ours.qkv.weight)
        plain.self_attn.in_proj_bias.zero_()
        plain.self_attn.out_proj.load_state_dict(ours.out.state_dict())
        plain.linear1.load_state_dict(ours.feed.fc1.state_dict())
        plain.linear2.load_state_dict(ours.feed.fc2.state_dict())
        plain.norm1.load_state_dict(ours.norm_attention.state_dict())
        plain.norm2.load_state_dict(ours.norm_feed.state_dict())
    values = torch.randn(3, 7, WIDTH)
    owner = torch.arange(3).repeat_interleave(7)
    found = ours(values.flatten(0, 1), pack([(values.flatten(0, 1), owner)], 3).layout)
    torch.testing.assert_close(found.view(3, 7, WIDTH), plain(values), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [0, 1])
def test_gradients_reach_every_token_that_the_first_attends_to(layers: int):
    blocks = Blocks(WIDTH, layers)
    values = torch.randn(4, WIDTH, requires_grad=True)
    (blocks(pack([(values, torch.tensor([0, 0, 0, 1]))], 2)).first()[0] ** 3).sum().backward()
    reached = (values.grad.abs().sum(dim=1) > 0).tolist()
    assert reached == [True, layers > 0, layers > 0, False]
