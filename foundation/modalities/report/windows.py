"""Long sequences read in windows of one length, each by itself."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from foundation.masks import on_host, send, to_device


def in_windows(read: Callable[[Tensor, Tensor], Tensor], pieces: Tensor, mask: Tensor, length: int) -> Tensor:
    """What is read of sequences that hold windows one after another: `[present, pieces, width]`.

    Args:
        read: of windows `[windows, pieces]` and their mask, `[windows, pieces, width]`.
        pieces: `[present, pieces]`, of each row all windows but the last full.
        mask: true where there is a piece.
        length: of a window.
    """
    present, count = pieces.shape
    if count <= length:
        return read(pieces, mask)
    padding = (0, -count % length)
    windows = functional.pad(pieces, padding).view(-1, length)
    real = functional.pad(on_host(mask), padding).view(-1, length)
    rows = real.any(dim=1).nonzero().squeeze(1)  # known on the host: the device is not waited for
    there = send(rows, pieces.device)
    values = read(windows.index_select(0, there), to_device(real[rows], mask.device))
    laid = values.new_zeros(len(windows), length, values.shape[-1]).index_copy(0, there, values)
    return laid.view(present, -1, values.shape[-1])[:, :count]
