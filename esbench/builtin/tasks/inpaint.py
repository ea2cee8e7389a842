"""Inpainting: the observation is the picture with some of its pixels missing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from esbench import images
from esbench.errors import UsageError
from esbench.kinds import AddNoise, Companions, Task
from esbench.metrics import psnr
from esbench.noise import colours_sigma, estimate, measurable
from esbench.observation import Observation, without
from esbench.pictures import Bools, Floats, is_grey
from esbench.records import Range

#: A colour picture has noise if the estimate of the level from the differences of its channels is above this, which
#: that of clean pictures of BSD400 is not.
NOISY = 4.0

#: The same of a grey one, if squares of FIVE x FIVE known pixels are measured; smaller ones do not tell noise from
#: detail.
NOISY_GREY, FIVE = 8.0, 5


class Inpaint(Task):
    """min over theta of the mean of (x - y)^2 over the known pixels.

    Args:
        missing: the share of pixels that the benchmark removes at random.
        per: `pixel` to remove all channels of a pixel, `channel` to draw the missing pixels per channel.
        mask: `random`, or `dataset` for the masks of a dataset.
        keep: whether the known pixels of a user's picture are kept unchanged.
        holdout: the share of the known pixels excluded from the loss, for criteria to use.
    """

    def __init__(
        self,
        *,
        missing: Annotated[float, Range(0.001, 0.999)] = 0.5,
        per: Literal["pixel", "channel"] = "pixel",
        mask: Literal["random", "dataset"] = "random",
        keep: bool = True,
        holdout: Annotated[float, Range(0, 0.5)] = 0.0,
    ) -> None:
        super().__init__(holdout=holdout)
        self.missing, self.per, self.mask, self.keep = missing, per, mask, keep

    def degrade(self, clean: Floats, rng: np.random.Generator, noise: AddNoise, companions: Companions) -> Observation:
        """Return the picture with noise and its missing pixels set to 0."""
        if self.mask == "random":
            shape = clean.shape if self.per == "channel" else clean.shape[:2]
            return without(noise(clean), rng.random(shape) < self.missing)
        if "mask" not in companions:
            raise UsageError(
                "inpaint[mask=dataset] needs a dataset with masks, such as set11 or dip-inpaint; mask=random draws one."
            )
        return without(noise(clean), companions["mask"][..., 0] > 0.5)

    def observe(self, y: Floats, *, mask: Any = None, guide: Any = None, file: bytes | None = None) -> Observation:
        """Return a picture and the positions of its known pixels.

        Raises:
            UsageError: the mask is missing, has another size, or marks no pixel or every pixel as missing.
        """
        self.takes_no(guide=guide)
        if mask is None:
            raise UsageError("Inpainting needs a mask: white, or above half, where pixels are missing; none was given.")
        missing = marked(mask)
        (h, w), (height, width) = y.shape[:2], missing.shape
        if (h, w) != (height, width):
            raise UsageError(f"The mask must have the size of the picture, {w} x {h}, got {width} x {height}.")
        if missing.all() or not missing.any():
            what = "every pixel" if missing.all() else "no pixel"
            raise UsageError(
                "The mask must mark some pixels as missing, by values above half (its transparency does not count), "
                f"and it marks {what}."
            )
        return without(y, missing)

    def level(self, observation: Observation) -> float | None:
        """Return the noise level of an observation, if it is more than detail may be taken for."""
        y, known = observation.y, observation.known
        if is_grey(y):
            if not measurable(known, FIVE):
                return None
            sigma = estimate(y, known).sigma
            return sigma if sigma > NOISY_GREY else None
        found = measurable(known) and colours_sigma(y, known) > NOISY
        return estimate(y, known).sigma if found else None

    def score(self, x: Floats, clean: Floats, observation: Observation) -> float:
        """Return the PSNR of the missing pixels."""
        missing = ~_known(observation)
        return psnr(x[missing], clean[missing])

    def baseline(self, observation: Observation) -> Floats:
        """Return the picture with each missing pixel set to the nearest known one."""
        known = _known(observation)
        if known.ndim == 2:
            filled: Floats = observation.y[nearest(known)]
            return filled
        planes = (observation.y[..., i][nearest(known[..., i])] for i in range(known.shape[2]))
        return np.stack(list(planes), -1)

    def idle(self, observation: Observation) -> bool:
        """Return whether no pixel is known, or none is missing."""
        known = _known(observation)
        return not known.any() or (self.keep and bool(known.all()))

    def finish(self, x: Floats, observation: Observation) -> Floats:
        """Return the output with the known pixels put back."""
        if not self.keep:
            return x
        known = _known(observation)
        return np.where(known if known.ndim == 3 else known[..., None], observation.y, x)


def marked(mask: Any) -> Bools:
    """Return where a user's mask is above half, (H, W); several channels are averaged."""
    array = mask.cpu().numpy() if hasattr(mask, "detach") else np.asarray(mask)
    array = array.astype(np.float32) if array.dtype == bool else array
    above: Bools = images.unpacked(array, "mask")[0].mean(2) > 0.5
    return above


def nearest(known: Bools) -> tuple[Any, Any]:
    """Return for each pixel the row and the column of the nearest known one (Euclidean distance), (H, W) each."""
    h, w = known.shape
    rows = np.arange(h)[:, None]
    # the nearest known pixel in each column, above or below
    above = np.maximum.accumulate(np.where(known, rows, -(2**20)), axis=0)
    below = np.minimum.accumulate(np.where(known, rows, 2**20)[::-1], axis=0)[::-1]
    row = np.where(rows - above <= below - rows, above, below)
    apart = (row - rows) ** 2
    best, column = apart.copy(), np.broadcast_to(np.arange(w), (h, w)).copy()
    for k in range(1, w):  # and of these, the one in the best column
        if k * k >= best.max():
            break
        for here, there in ((slice(k, None), slice(None, -k)), (slice(None, -k), slice(k, None))):
            distance = apart[:, there] + k * k
            nearer = distance < best[:, here]
            best[:, here][nearer] = distance[nearer]
            column[:, here][nearer] = np.broadcast_to(np.arange(w)[there], distance.shape)[nearer]
    return np.take_along_axis(row, column, axis=1), column


def _known(observation: Observation) -> Bools:
    assert observation.known is not None
    return observation.known
