"""Measure the error on held-out pixels: the better they are predicted, the better the picture is restored.

Noise that is independent from pixel to pixel cannot be predicted from other pixels. The mean squared error on pixels
that are left out of the loss is therefore the error to the clean picture plus the variance of the noise, for any kind
and level of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esbench.errors import ParamError
from esbench.frames import Frame, Value
from esbench.observation import Problem


def holdout(frame: Frame) -> Value:
    """Return the mean of (x - y)^2 over the held-out pixels."""
    return holdout_block([frame])[0]


def holdout_block(frames: Sequence[Frame]) -> list[Value]:
    """Return the values of consecutive frames, waiting only once for the device."""
    import torch

    problem = frames[0].problem
    noisy, mask = problem.noisy, problem.holdout
    if noisy is None or mask is None or not mask.any():
        return [Value(None, reason="needs held-out pixels, as with the task denoise[holdout=0.02]")] * len(frames)
    x = problem.observed(torch.stack([frame.tensor for frame in frames]).float().clamp(0, 1))
    y = noisy.tensor.to(x.device).float()
    if y.shape != x.shape[1:] or mask.shape != y.shape[1:]:
        return [Value(None, reason="needs a noisy picture of the output's size")] * len(frames)
    held = torch.from_numpy(mask).to(x.device)
    squares = (x - y)[..., held].square()
    if problem.known is not None and problem.known.ndim == 3:  # a pixel may be known in some channels
        known = torch.from_numpy(problem.known[mask].T.copy()).to(x.device)
        errors = (squares * known).sum((1, 2), dtype=torch.float64) / known.sum()
    else:
        errors = squares.mean((1, 2), dtype=torch.float64)
    return [Value(error) for error in errors.tolist()]


def resolve(problem: Problem) -> dict[str, Any]:
    """Return no parameters, because there are none.

    Raises:
        ParamError: there is an optimisation, and it uses all pixels.
    """
    if problem.noisy is not None and problem.holdout is None:
        raise ParamError(
            "holdout needs held-out pixels, but the optimisation uses all: a task with holdout=0.02 leaves 2 % of them "
            "out of the loss, such as denoise[holdout=0.02] or superres[factor=4,holdout=0.02]."
        )
    return {}
