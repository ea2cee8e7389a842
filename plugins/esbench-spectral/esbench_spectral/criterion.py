"""Stop where the ratio of blur to sharpness of the output no longer changes.

Written from a description of the method; no code of its authors was used. Arrays are (H, W) grey, float64 in [0, 1].
"""

from typing import Annotated, Any

import numpy as np
from esbench import Range, Value

#: The side of the blur's box, and the pixels that are cut off before and after.
BOX, BEFORE, AFTER = 9, 5, 4

#: Of the local variations in descending order, the first that is used, and their number.
FIRST, COUNT = 2, 999


class Spectral:
    """v_t = max(|mean(r_(t-2n) ... r_(t-n-1)) - mean(r_(t-n+1) ... r_(t-1))|, threshold), r = blur / sharp.

    The published rule stops at the first t > 2n where the difference is below the threshold. Nothing undercuts the
    threshold and a tie keeps the earlier step, so the rule of esbench stops at the same t, unless a minimum above the
    threshold has lasted for its whole patience before. With `threshold=0` it is the flattest step instead.
    """

    def __init__(self, *, window: Annotated[int, Range(2)] = 100, threshold: Annotated[float, Range(0)] = 0.01) -> None:
        self.window, self.threshold = window, threshold
        self.ratios: list[float] = []  # of the last 2n + 1 steps

    def update(self, frame) -> Value:
        """Process the next output and return the value, with its ratio as a part."""
        r, reason = ratio(grey(frame.float))
        if reason:
            return Value(None, reason=reason)  # this step is not part of the windows
        n, before = self.window, self.ratios
        self.ratios = [*before, r][-2 * n - 1 :]
        if len(before) <= 2 * n:
            return Value(None, {"ratio": r}, f"needs more than {2 * n} outputs before it")
        difference = abs(np.mean(before[-2 * n : -n]) - np.mean(before[-n + 1 :]))
        return Value(max(float(difference), self.threshold), {"ratio": r})

    def state_dict(self) -> dict[str, Any]:
        """Return the ratios so far."""
        return {"ratios": list(self.ratios)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.ratios = list(state["ratios"])


def ratio(x: np.ndarray) -> tuple[float, str]:
    """Return blur / sharp of a grey picture, or the reason why there is none."""
    if min(x.shape) < BEFORE + AFTER + 3:
        return np.nan, f"it is smaller than {BEFORE + AFTER + 3} pixels"
    b, s = blur(x), sharp(x)
    if not b >= 0 or s <= 0:
        return np.nan, "it is flat"
    return b / s, ""


def grey(x: np.ndarray) -> np.ndarray:
    """Return the luma of (H, W, C) in [0, 1]."""
    if x.shape[2] == 1:
        return x[..., 0].astype(np.float64)
    return (x.astype(np.float64) @ (0.2989, 0.5870, 0.1140)).clip(0, 1)


def blur(x: np.ndarray) -> float:
    """Return b = 1 - sum max(0, D_F - D_B) / sum D_F, the larger of both axes; 1 if a blur removes nothing.

    D_F and D_B are the absolute differences of neighbours in the picture and in its blur along the same axis (Crete et
    al., The blur effect, 2007).
    """
    inner = (slice(BEFORE, -AFTER),) * 2
    found = []
    for y in (x, x.T):
        d_f = abs(np.diff(y[inner], axis=0))[:, 1:]
        d_b = abs(np.diff(box(y)[inner], axis=0))[:, 1:]
        total = d_f.sum()
        found.append(1 - np.maximum(0, d_f - d_b).sum() / total if total > 0 else np.nan)
    return float(np.max(found))  # NaN where one of them is


def box(x: np.ndarray) -> np.ndarray:
    """Return the means of 9 rows, with zeros outside."""
    half = BOX // 2
    rows = np.pad(x, ((half + 1, half), (0, 0))).cumsum(0)
    return (rows[BOX:] - rows[:-BOX]) / BOX


def sharp(x: np.ndarray) -> float:
    """Return the root mean square of the largest local variations, the m-th of them weighted with exp(-m / 100).

    The local variation of a pixel is the largest signed difference of a neighbour to it, of eight; outside are zeros.
    The two largest do not count (after Bahrami and Kot, A fast approach for no-reference image sharpness assessment
    based on maximum local variation, 2014).
    """
    h, w = x.shape
    padded = np.pad(x, 1)
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    highest = np.max([padded[i : i + h, j : j + w] for i, j in shifts], axis=0)
    variations = (highest - x).ravel()
    largest = FIRST + COUNT
    if variations.size > largest:
        variations = np.partition(variations, -largest)[-largest:]
    counted = np.sort(variations)[::-1][FIRST:]
    weights = np.exp(-0.01 * np.arange(FIRST, FIRST + counted.size))
    return float(np.sqrt(np.mean((weights * counted) ** 2)))
