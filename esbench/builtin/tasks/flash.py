"""Flash and no flash: restore a noisy picture with a guide, a picture of the same scene in other light."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from esbench import images
from esbench.errors import UsageError
from esbench.kinds import AddNoise, Companions, Task
from esbench.observation import Observation
from esbench.pictures import Floats
from esbench.records import Range


class Flash(Task):
    """min over theta of the mean of (f_theta(guide) - y)^2.

    Args:
        guide: `relit`, the clean picture in other light, or `dataset` for the guides of a dataset.
        holdout: the share of pixels excluded from the loss, for criteria to use.
    """

    def __init__(
        self,
        *,
        guide: Literal["relit", "dataset"] = "relit",
        holdout: Annotated[float, Range(0, 0.5)] = 0.0,
    ) -> None:
        super().__init__(holdout=holdout)
        self.origin = guide

    def degrade(self, clean: Floats, rng: np.random.Generator, noise: AddNoise, companions: Companions) -> Observation:
        """Return the picture with noise and its guide without noise."""
        if self.origin == "relit":
            return Observation(noise(clean), extra={"guide": relit(clean, rng)})
        if "guide" not in companions:
            raise UsageError(
                "flash[guide=dataset] needs a dataset with pairs, such as dip-flash; guide=relit makes them."
            )
        return Observation(noise(clean), extra={"guide": companions["guide"]})

    def observe(self, y: Floats, *, mask: Any = None, guide: Any = None, file: bytes | None = None) -> Observation:
        """Return a picture and its guide.

        Raises:
            UsageError: the guide is missing or has another size.
        """
        self.takes_no(mask=mask)
        if guide is None:
            raise UsageError(
                "The task 'flash' needs a guide, the picture of the same scene with flash; none was given."
            )
        other = images.unpacked(guide, "guide")[0]
        (h, w), (height, width) = y.shape[:2], other.shape[:2]
        if (h, w) != (height, width):
            raise UsageError(f"The guide must have the size of the picture, {w} x {h}, got {width} x {height}.")
        return Observation(y, extra={"guide": other})

    def guide(self, observation: Observation) -> Floats:
        """Return the picture with flash."""
        guide: Floats = observation.extra["guide"]
        return guide


def relit(clean: Floats, rng: np.random.Generator) -> Floats:
    """Return a picture in other light: a smooth field of brightness times a cast of colour, clipped.

    The field is exp(s) with s a sum of the five lowest cosines of random signs and sizes, between about 0.4 and 2.5;
    the cast is a factor in [0.7, 1.3] for each channel.
    """
    h, w, c = clean.shape
    rows, columns = (np.cos(np.pi * np.outer(np.arange(3), (np.arange(n) + 0.5) / n)) for n in (h, w))
    waves = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    field = sum(a * np.outer(rows[i], columns[j]) for a, (i, j) in zip(rng.normal(0, 0.25, 5), waves, strict=True))
    light = np.exp(field)[..., None] * rng.uniform(0.7, 1.3, c)
    guide: Floats = (clean * light).clip(0, 1).astype(np.float32)
    return guide
