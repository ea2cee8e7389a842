"""Convolutions with kernels of 3 x 3 by Winograd's algorithm, which needs a quarter of the multiplications.

Four outputs of a kernel g of three taps take six products instead of twelve: y = A^T ((G g) * (B^T x)), of six inputs
x, where * is by element (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016). In both
directions, a tile X of 6 x 6 inputs gives a tile Y of 4 x 4 outputs,

    Y = A^T (U * V) A,    U = G g G^T,    V = B^T X B.

Summed over channels, U * V is a product of matrices for each of the 36 elements: V has a row for each tile, and U for
each channel of x. Every step is linear, and the gradients are its transposes. Only a block of tiles is processed at a
time, which stays in the cache: with all tiles at once this is slower than the sum as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

#: The transposes of A and B, and G, of the points 0, 1, -1, 2, -2 and infinity.
A_T = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
B_T = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)

#: Tiles times channels of x in a block: one of the 36 elements of as many. One thread is faster with half of it, two
#: with all of it; it is not their number that decides, because the order of sums would follow from it.
BLOCK = 2**14


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return the convolution of x, (N, C, H, W), with weights (D, C, 3, 3), without padding, channels last."""
    n, _, h, w = x.shape
    a_t, b_t, g = (x.new_tensor(matrix) for matrix in (A_T, B_T, G))
    u = _both(g, weight.permute(2, 3, 1, 0))
    last = torch.channels_last
    y = torch.empty(n, len(weight), _covered(h), _covered(w), dtype=x.dtype, device=x.device, memory_format=last)
    for tiles_x, tiles_y in _blocks((filled(x, _covered(h) + 2, _covered(w) + 2), 6), (y.permute(0, 2, 3, 1), 4)):
        of_tiles = _both(a_t, _both(b_t, tiles_x) @ u)
        tiles_y.copy_((of_tiles if bias is None else of_tiles.add_(bias)).view(tiles_y.shape))
    # no view: layers may change the output of a `torch.autograd.Function` in place only if it is none
    return y if y.shape[2:] == (h - 2, w - 2) else y[..., : h - 2, : w - 2].clone(memory_format=last)


def gradients(of_y: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of x and of the weights that follow from the gradient of y."""
    d, c, h, w = *weight.shape[:2], *x.shape[2:]
    a_t, b_t, g = (x.new_tensor(matrix) for matrix in (A_T, B_T, G))
    u_t = _both(g, weight.permute(2, 3, 0, 1))
    of_u = x.new_zeros(36, c, d)
    x, of_y = filled(x, _covered(h) + 2, _covered(w) + 2), filled(of_y, _covered(h), _covered(w))
    of_x = x.new_zeros(x.shape)
    for tiles_x, tiles_y, tiles_of_x in _blocks((x, 6), (of_y, 4), (of_x, 6)):
        of_m = _both(a_t.T, tiles_y)
        of_u.baddbmm_(_both(b_t, tiles_x).mT, of_m)
        added = _both(b_t.T, of_m @ u_t).view(tiles_of_x.shape)
        for i in (0, 1):  # neighbouring tiles of x overlap, every second one does not
            for j in (0, 1):
                tiles_of_x[:, :, i::2, j::2] += added[:, :, i::2, j::2]
    of_weight = _both(g.T, of_u).view(3, 3, c, d).permute(3, 2, 0, 1)
    return of_x[:, :h, :w].permute(0, 3, 1, 2), of_weight.contiguous(memory_format=torch.channels_last)


def filled(x: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Return x, (N, C, H, W), with its channels last, and zeros below and to the right of it."""
    if x.shape[2:] != (h, w):
        x = nn.functional.pad(x, (0, w - x.shape[3], 0, h - x.shape[2]))
    return x.permute(0, 2, 3, 1)


def _covered(size: int) -> int:
    """Return how many outputs the tiles have that cover those of so many inputs."""
    return -(-(size - 2) // 4) * 4


def _blocks(*pictures: tuple[torch.Tensor, int]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the tiles of pictures, each (N, H, W, C) with the side of its tiles, a block of rows at a time.

    The tiles are views of the pictures, (side, side, rows, columns, C).
    """
    tiles = [x.unfold(1, side, 4).unfold(2, side, 4).permute(0, 4, 5, 1, 2, 3) for x, side in pictures]
    n, _, _, rows, columns, c = tiles[0].shape
    step = max(1, BLOCK // (columns * c))
    for i in range(n):
        for top in range(0, rows, step):
            yield tuple(each[i, :, :, top : top + step] for each in tiles)


def _both(m: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return m X m^T for all matrices X: their elements are the first axes of x, or the first, row by row."""
    k, r = m.shape
    return (m @ (m @ x.reshape(r, -1)).view(k, r, -1)).view(k * k, -1, x.shape[-1])
