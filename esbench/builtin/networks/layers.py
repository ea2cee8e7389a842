"""What the networks are made of: layers with repeatable gradients, and the size of picture that halving allows."""

from __future__ import annotations

from collections.abc import Callable


def too_small(h: int, w: int, scales: int, margin: int = 1, fewer: Callable[[int], str] | None = None) -> str:
    """Return why a network that halves both sides `scales` times cannot make a picture of h x w, or an empty text.

    Args:
        h: height of the picture.
        w: width of the picture.
        scales: how many times both sides are halved, rounded up.
        margin: what the deepest layers need: sides of more than `margin`, as a reflection by `margin` pixels does.
        fewer: the text of the network with fewer scales, if it has such a parameter.
    """
    side = min(h, w)
    if side > margin * 2**scales:
        return ""
    fits = max((s for s in range(1, scales) if side > margin * 2**s), default=0)
    remedy = f": fewer scales do with less, as in {fewer(fits)!r}" if fewer and fits else ""
    return f"needs both sides to be at least {margin * 2**scales + 1}{remedy}"
