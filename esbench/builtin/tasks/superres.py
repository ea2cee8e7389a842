"""Super-resolution: the observation is a reduced picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from esbench.kinds import AddNoise, Companions, Task
from esbench.metrics import psnr
from esbench.noise import colours_sigma, estimate, unexplained
from esbench.observation import Observation
from esbench.pictures import Floats, Pictures
from esbench.records import Range

if TYPE_CHECKING:
    import torch

#: The number of pixels at each edge that the score ignores, because methods extend the picture differently.
CUT = 4

#: An observation has noise if the estimate of its level is above this: that of clean pictures of BSD400, reduced twice
#: and four times, seldom is (docs/restore.md).
NOISY = 6.0


class Superres(Task):
    """min over theta of the mean of (A x A' - y)^2, where A reduces one axis by a Lanczos filter.

    The benchmark reduces with Pillow's Lanczos filter of three lobes and 8 bits and not with A, on purpose: the
    operator of a picture from elsewhere is unknown. A picture whose sides are not multiples of the factor is extended
    by repeating its last row and column; the observation has ceil(side / factor) pixels.
    """

    def __init__(
        self,
        *,
        factor: Literal[2, 3, 4, 8] = 4,
        kernel: Literal["lanczos2", "lanczos3"] = "lanczos2",
        holdout: Annotated[float, Range(0, 0.5)] = 0.0,
    ) -> None:
        super().__init__(holdout=holdout)
        self.factor, self.lobes = factor, int(kernel[-1])
        self._reductions: dict[Any, torch.Tensor] = {}

    def degrade(self, clean: Floats, rng: np.random.Generator, noise: AddNoise, companions: Companions) -> Observation:
        """Return the 8-bit picture after Pillow's Lanczos reduction, with added noise."""
        from PIL import Image

        h, w, _ = clean.shape
        small = (math.ceil(h / self.factor), math.ceil(w / self.factor))
        edges = ((0, small[0] * self.factor - h), (0, small[1] * self.factor - w), (0, 0))
        eight = np.pad(Pictures(clean[None]).uint8[0], edges, mode="edge")
        eight = eight[..., 0] if eight.shape[2] == 1 else eight
        reduced = Image.fromarray(eight).resize(small[::-1], Image.Resampling.LANCZOS)
        y = np.asarray(reduced, np.float32).reshape(*small, -1) / np.float32(255)
        return Observation(noise(y), extra={"size": (h, w)})

    def level(self, observation: Observation) -> float | None:
        """Return the noise level of an observation, if it is more than detail may be taken for."""
        sigma = least_sigma(observation.y)
        return sigma if sigma > NOISY and observation.y.shape[2] > 1 else None

    def shape(self, observation: Observation) -> tuple[int, int, int]:
        """Return the size of the clean picture, or the size of the enlarged observation."""
        h, w, c = observation.y.shape
        return (*observation.extra.get("size", (h * self.factor, w * self.factor)), c)

    def forward(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Return A x A'."""
        h, w = observation.y.shape[:2]
        return self._reduction(h, x.shape[-2], x) @ x @ self._reduction(w, x.shape[-1], x).mT

    def score(self, x: Floats, clean: Floats, observation: Observation) -> float:
        """Return the PSNR of the luma, without the edges."""
        inner = slice(CUT, -CUT) if min(clean.shape[:2]) > 2 * CUT else slice(None)
        return psnr(luma(x)[inner, inner], luma(clean)[inner, inner])

    def baseline(self, observation: Observation) -> Floats:
        """Return the bicubic enlargement."""
        h, w, _ = self.shape(observation)
        return bicubic(observation.y, self.factor)[:h, :w]

    def finish(self, x: Floats, observation: Observation) -> Floats:
        """Return x + s A^+ (y - A x A') A'^+: the output with the share s of the residual that noise does not explain.

        The level of the noise is estimated from the observation, if it is not known.
        """
        h, w = observation.y.shape[:2]
        a, b = (reduction(n, full, self.factor, self.lobes) for n, full in ((h, x.shape[0]), (w, x.shape[1])))
        planes = x.transpose(2, 0, 1).astype(np.float64)
        residual = observation.y.transpose(2, 0, 1) - a @ planes @ b.T
        # even a picture that was said to have no noise may have some
        sigma = least_sigma(observation.y) if observation.noise.level is None else observation.noise.level
        planes += unexplained(residual, (sigma / 255) ** 2) * (np.linalg.pinv(a) @ residual @ np.linalg.pinv(b).T)
        return planes.transpose(1, 2, 0).clip(0, 1).astype(np.float32)

    def _reduction(self, n: int, full: int, like: torch.Tensor) -> torch.Tensor:
        """Return `reduction` for an axis, on the device of a tensor; cached."""
        key = n, full, like.device, like.dtype
        if key not in self._reductions:
            import torch

            self._reductions[key] = torch.from_numpy(reduction(n, full, self.factor, self.lobes)).to(like)
        return self._reductions[key]


def reduction(n: int, full: int, factor: int, lobes: int) -> npt.NDArray[np.float64]:
    """Return the matrix (n, full) that reduces one axis: a Lanczos filter at every `factor`-th position.

    The pixel i of the reduced axis is at c = factor * i + (factor - 1) / 2 of the full one. A position at the distance
    d = |position - c| / factor < lobes has the weight lobes * sin(pi d) sin(pi d / lobes) / (pi d)^2. The weights are
    scaled to sum to 1, and the last value is repeated beyond an end. For an even factor it is the fixed convolution of
    Deep Image Prior (phase 1/2). As a matrix, unlike a padded convolution, it gives the same bits each time on a GPU.
    """
    centre = factor * np.arange(n)[:, None] + (factor - 1) / 2
    places = np.ceil(centre - lobes * factor).astype(int) + np.arange(2 * lobes * factor)
    d = np.abs(places - centre) / factor
    weights = np.sinc(d) * np.sinc(d / lobes)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((n, full))
    np.add.at(matrix, (np.arange(n)[:, None], places.clip(0, full - 1)), weights)
    return matrix


def least_sigma(y: Floats) -> float:
    """Return an estimate of the noise level of a reduced picture: that of the picture, or, if lower, of its colours.

    The detail of a reduced picture is as fine as noise.
    """
    own = estimate(y).sigma
    return own if y.shape[2] == 1 else min(own, colours_sigma(y))


def luma(picture: Floats) -> npt.NDArray[np.float64]:
    """Return Y of BT.601 in [16, 235] / 255, of a picture in [0, 1]; grey counts as three equal channels."""
    rgb = np.broadcast_to(picture.clip(0, 1), (*picture.shape[:2], 3))
    y: npt.NDArray[np.float64] = (16 + rgb @ np.array([65.481, 128.553, 24.966])) / 255
    return y


def bicubic(picture: Floats, factor: int) -> Floats:
    """Return a picture enlarged by Pillow's bicubic filter, in floating point, clipped."""
    from PIL import Image

    h, w, c = picture.shape
    size = (w * factor, h * factor)
    planes = [Image.fromarray(picture[..., i]).resize(size, Image.Resampling.BICUBIC) for i in range(c)]
    return np.stack([np.asarray(plane, np.float32) for plane in planes], -1).clip(0, 1)
