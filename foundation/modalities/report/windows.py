"""Long sequences read in windows of one length, each by itself."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.compiler import is_exporting

from foundation.masks import laid_out, never_none, on_host, real, send, to_device


def in_windows(read: Callable[[Tensor, Tensor], Tensor], pieces: Tensor, mask: Tensor, length: int) -> Tensor:
    """What is read of sequences that hold windows one after another: `[present, pieces, width]`.

    Args:
        read: of windows `[windows, pieces]` and their mask, `[windows, pieces, width]`.
        pieces: `[present, pieces]`, of each row all windows but the last full.
        mask: true where there is a piece.
        length: of a window.
    """
    count = pieces.shape[1]
    if not is_exporting() and count <= length:
        return read(pieces, mask)
    there = on_host(mask)  # the device is not waited for
    row, place = there.nonzero().unbind(1)
    begins = place % length == 0
    places = place[begins][:, None] + torch.arange(length)
    cells = row[begins][:, None] * count + places.clamp(max=count - 1)
    windowed = to_device(there.flatten()[cells] & (places < count), mask.device)
    values = never_none(read, pieces.flatten()[send(cells, pieces.device)], windowed)
    return laid_out(real(values, windowed), mask)
