"""Impulses: single values that are black or white."""

from __future__ import annotations

import numpy as np

from esbench.noise.local import locally
from esbench.pictures import Bools, Floats

#: Impulses are told from the AROUND x AROUND values around them, and counted where those are farthest from them, in
#: all but the share NEARER of a channel. FILLED: the squared error of a value that is filled in. NONE makes the mean of
#: no values 0.5. Chosen on BSD400.
AROUND, NEARER, FILLED, NONE = 7, 0.8, 0.002, np.float32(1e-6)


def has_impulses(patches: Floats) -> bool:
    """Whether more than 1 in 200 values are impulses, and most of those far from their neighbours are.

    A black or white value counts if it is unusual for its 5 x 5 patch, and a value near it as one that is none. The
    black or white values of text and drawings are beside each other, impulses not more than by chance. Among the values
    of a few photons hardly one is neither.
    """
    if ((patches > 0) & (patches < 1)).sum() < 0.05 * patches.size:
        return False
    value, median = patches[:, 12], np.median(patches, axis=1)
    unusual = np.abs(value - median) > 4 * np.median(np.abs(patches - median[:, None]), axis=1)
    beside = patches[:, [7, 11, 13, 17]]
    extreme, between, among, together = 0, 0, 0, 0.0
    for end in (0.0, 1.0):
        far = np.abs(median - end) > 0.3
        away = np.abs(value - end)
        found = far & (away == 0) & unusual
        n = int(found.sum())
        extreme += n
        between += int((far & (away > 0) & (away < np.abs(median - end) / 2) & unusual).sum())
        among += int(far.sum())
        if n:
            together += n * float((beside[found] == end).mean() - (beside[far] == end).mean())
    return extreme > 0.005 * among and extreme > 0.65 * (extreme + between) and together < 0.05 * extreme


def impulse_variance(image: Floats) -> float:
    """Return the variance of the impulses of a channel that are far from their neighbours."""
    patches = locally(image)
    value, median = patches[:, 12], np.median(patches, axis=1)
    far = ((value == 0) | (value == 1)) & (np.abs(value - median) > 0.3)
    return float((far * (value - median).astype(np.float64) ** 2).mean())


def impulses_of(image: Floats) -> Bools:
    """Return which values are taken for impulses, (H, W, C).

    A black or white value is one if the expected squared error of keeping it is more than that of filling it in, which
    is an error if it is none. How many black impulses to expect is seen where the picture is brightest, and of white
    ones where it is darkest. There are as many everywhere; further black or white values belong to the picture.
    """
    return np.stack([_of_channel(image[..., i]) for i in range(image.shape[2])], -1)


def _of_channel(y: Floats) -> Bools:
    ends = (y == 0, y == 1)
    grey = ~(ends[0] | ends[1])
    n, total = _around(grey), _around(np.ones_like(grey))
    sums, counts = _around(y * grey), [_around(same) for same in ends]
    expected = []
    others = sums / np.maximum(n, 1)
    for end, same in enumerate(ends):
        distance = np.where(n > 0, np.abs(others - end), 0)
        far = distance >= np.quantile(distance, NEARER)
        expected.append(total * np.float32(same[far].mean()))
    own = [np.maximum(counts[end] - expected[end], 0) for end in (0, 1)]
    mean = (sums + own[1] + NONE / 2) / (n + own[0] + own[1] + NONE)
    found: Bools = np.zeros_like(grey)
    for end, same in enumerate(ends):
        chance = np.minimum(expected[end] / np.maximum(counts[end], 1), 1)
        found |= same & (chance * (mean - end) ** 2 > FILLED * (1 - chance))
    return found


def _around(values: Floats | Bools) -> Floats:
    """Return the sum of the AROUND x AROUND values around each, (H, W), at the border of fewer."""
    h, w = values.shape
    padded = np.pad(values.astype(np.float32), AROUND // 2)
    rows, sums = np.zeros((h, padded.shape[1]), np.float32), np.zeros((h, w), np.float32)
    for i in range(AROUND):
        rows += padded[i : i + h]
    for i in range(AROUND):
        sums += rows[:, i : i + w]
    return sums
