"""Inputs of the conformance checks: a synthetic optimisation, and unusual pictures."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from esbench import images
from esbench.builtin.datasets.samples import Samples
from esbench.frames import Block, Frame
from esbench.observation import Problem
from esbench.pictures import Floats, Pictures

if TYPE_CHECKING:
    import torch

Size: TypeAlias = tuple[int, int]

#: Height and width of the outputs: two of NIQE's patches, not square.
SIZE = (96, 200)

#: The same for a criterion with memory, which needs many more of them.
SMALL = (40, 56)

#: The noise level of the observation, on the 0-255 scale.
SIGMA = 25.0

#: The loss of a picture that is not from an optimisation.
LOSS = 0.01


def photograph(size: Size = SIZE, *, turned: bool = False) -> Floats:
    """Return a clean picture (H, W, 3) in [0, 1]: a photograph, extended by its mirror image."""
    tile = _tile()[::-1, ::-1] if turned else _tile()
    extra = [(0, max(0, wanted - has)) for wanted, has in zip(size, tile.shape[:2], strict=True)]
    whole: Floats = np.pad(tile, (*extra, (0, 0)), mode="symmetric")[: size[0], : size[1]]
    return np.ascontiguousarray(whole)


def noise(size: Size, *seed: int) -> Floats:
    """Return white noise (H, W, 3) of standard deviation 1."""
    return np.random.default_rng(seed).standard_normal((*size, 3), dtype=np.float32)


def observation(size: Size = SIZE) -> Floats:
    """Return the photograph with noise."""
    return (photograph(size) + np.float32(SIGMA / 255) * noise(size, 0)).clip(0, 1)


def problem(size: Size = SIZE) -> Problem:
    """Return the problem of that observation."""
    return _known(observation(size))


def optimisation(steps: int, length: int = 1, size: Size = SIZE) -> Iterator[Block]:
    """Yield the outputs of an optimisation in blocks: it fits the picture first, then the noise, with fluctuations."""
    import torch

    y = torch.from_numpy(observation(size)).movedim(-1, 0)
    average = _output(0, size)
    for first in range(0, steps, length):
        which = range(first, min(first + length, steps))
        outputs, averages = [], []
        for t in which:
            average = np.float32(0.99) * average + np.float32(0.01) * _output(t, size)
            outputs.append(_output(t, size))
            averages.append(average)
        x, a = (torch.from_numpy(np.stack(z)).movedim(-1, 1).contiguous() for z in (outputs, averages))
        losses, average_losses = ((z - y).square().mean((1, 2, 3)).tolist() for z in (x, a))
        yield Block(first, losses, average_losses, Pictures(x), Pictures(a))


@functools.lru_cache(512)
def _output(t: int, size: Size) -> Floats:
    """Return the output of a step."""
    learned, fitted = 1 - 0.9**t, t / (t + 40)
    clean, noisy = photograph(size), observation(size)
    picture = 0.5 + learned * (clean - 0.5) + fitted * (noisy - clean)
    x: Floats = (picture + (0.03 * 0.97**t + 0.01) * noise(size, 1, t)).astype(np.float32)
    return x


def unrest(level: float, steps: int, picture: Floats) -> Iterator[Frame]:
    """Yield frames of one picture with fresh noise of a level in each, and the same loss in all."""
    size = picture.shape[:2]
    known = problem(size)
    for t in range(steps):
        x = (picture + np.float32(level / 255) * noise(size, 2, t)).clip(0, 1)
        yield frame(x, t, known)


def frame(picture: Floats, step: int = 0, known: Problem | None = None) -> Frame:
    """Return one picture as a frame whose average is the picture itself; the default observation adds noise to it."""
    pictures = Pictures(picture[None])
    if known is None:
        noisy = (np.nan_to_num(picture, posinf=1.0) + np.float32(0.1)).clip(0, 1)
        known = _known(noisy)
    average = Frame(pictures, step=step, loss=LOSS, problem=known)
    return Frame(pictures, step=step, loss=LOSS, problem=known, average=average)


def awkward(size: Size, largest: Size) -> Iterator[tuple[str, Floats]]:
    """Yield pictures that are likely to occur, each with its name."""
    for name, level in (("black", 0.0), ("flat", 0.4), ("white", 1.0)):
        yield name, np.full((*size, 3), level, np.float32)
    yield "grey (one channel)", photograph(size)[..., :1].copy()
    h, w = size[0] + 1, size[1] + 1
    yield f"odd-sized ({h} x {w})", photograph((h, w))
    yield "tiny (2 x 3)", photograph((2, 3))
    yield f"huge ({largest[0]} x {largest[1]})", photograph(largest)
    for name, value in (("NaN", np.nan), ("infinite", np.inf)):
        broken = photograph(size)
        broken[1, 2, 0] = value
        yield f"{name} in a pixel", broken


def _known(noisy: Floats) -> Problem:
    """Return a problem with all that a criterion may need."""
    h, w, _ = noisy.shape
    holdout = np.random.default_rng(3).random((h, w)) < 0.1
    return Problem(noisy=Pictures(noisy[None])[0], sigma=SIGMA, holdout=holdout, observed=observed, size=(h, w))


def observed(x: torch.Tensor) -> torch.Tensor:
    """Return an output unchanged, as denoising does; like every task it takes tensors alone."""
    if not hasattr(x, "detach"):
        raise TypeError(f"problem.observed(x) takes a tensor, such as frame.tensor, got a {type(x).__name__}")
    return x


@functools.cache
def _tile() -> Floats:
    return images.unit(Samples().load("hopper"))
