"""What was observed, and what is known of it by whoever has to restore the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from esbench.pictures import Bools, Floats, Picture, Pictures

if TYPE_CHECKING:
    import torch

    from esbench.noise import Noise


@dataclass(frozen=True)
class NoiseModel:
    """What is told of the noise in an observation.

    Attributes:
        kind: the name of the degradation that made it; "none" where there is none, "unknown" where nothing is told.
        level: of `parameter`, if it is told.
        parameter: what the level is a value of: "sigma", on the 0-255 scale, for Gaussian noise.
    """

    kind: str = "unknown"
    level: float | None = None
    parameter: str = "sigma"

    @property
    def sigma(self) -> float | None:
        """The standard deviation on the 0-255 scale, if it is told."""
        if self.kind == "none":
            return 0.0
        return self.level if self.parameter == "sigma" else None


@dataclass(frozen=True, eq=False)
class Observation:
    """What was observed of the unknown picture, in the observation's own size.

    Attributes:
        y: the observation, (H, W, C) in [0, 1].
        noise: what is told of its noise.
        known: (H, W) or (H, W, C), True where y is known; None if all of it is.
        holdout: (H, W), True where a pixel is kept out of the loss, so that criteria may look at it; None if none is.
        extra: what else belongs to it, as arrays by name: the guide of a flash pair, a quantisation table.
    """

    y: Floats
    noise: NoiseModel = NoiseModel()
    known: Bools | None = None
    holdout: Bools | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    _tensors: dict[Any, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def sigma(self) -> float:
        """The standard deviation of its noise on the 0-255 scale: as told, else an estimate from it alone."""
        from esbench.noise import estimate_sigma

        return estimate_sigma(self.y) if self.noise.sigma is None else self.noise.sigma

    @cached_property
    def gain(self) -> float:
        """The gain s of shot noise, y = s Poisson(x / s): an estimate from it alone."""
        from esbench.noise import estimate_gain

        return estimate_gain(self.y)

    def tensor(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """Return `y`, or an array of `extra`, as (1, C, H, W) on the device of another tensor; made once."""
        key = name, like.device
        if key not in self._tensors:
            array = self.y if name == "y" else self.extra[name]
            self._tensors[key] = Pictures(array[None]).tensor.to(like.device)
        return self._tensors[key]

    def weight(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return what each element counts for in a mean over those that the loss sees; None if it sees all."""
        if self.known is None and self.holdout is None:
            return None
        key = "weight", like.device
        if key not in self._tensors:
            import torch

            kept = torch.from_numpy(seen(self.known, self.holdout)).to(self.tensor("y", like))
            kept = kept / kept.mean()
            self._tensors[key] = kept if kept.ndim == 2 else kept.permute(2, 0, 1)
        return self._tensors[key]

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of values, one per element of the observation, over the elements that the loss sees."""
        weight = self.weight(values)
        return values.mean() if weight is None else (weight * values).mean()

    def window(self, rows: slice, columns: slice) -> Observation:
        """Return a part of it; what of `extra` has its size is cut with it."""
        return self._each(lambda array: array[rows, columns])

    def padded(self, h: int, w: int) -> Observation:
        """Return the same mirrored at its right and lower edge to a size that is at least its own."""
        import numpy as np

        height, width = self.y.shape[:2]
        if (h, w) == (height, width):
            return self
        edges = ((0, h - height), (0, w - width))
        return self._each(lambda array: np.pad(array, edges + ((0, 0),) * (array.ndim - 2), mode="symmetric"))

    def _each(self, change: Callable[[Any], Any]) -> Observation:
        """Return the same with every picture in it changed."""
        size = self.y.shape[:2]
        return dataclasses.replace(
            self,
            y=change(self.y),
            known=None if self.known is None else change(self.known),
            holdout=None if self.holdout is None else change(self.holdout),
            extra={name: change(a) if getattr(a, "shape", ())[:2] == size else a for name, a in self.extra.items()},
        )

    def holding_out(self, share: float) -> Observation:
        """Return the same with a share of its known pixels, all their channels, kept out of the loss; at least one."""
        if not share:
            return self
        import numpy as np

        h, w = self.y.shape[:2]
        known = np.ones((h, w), bool) if self.known is None else self.known.reshape(h, w, -1).any(2)
        place = np.flatnonzero(known)
        n = max(1, round(share * len(place)))
        mask = np.zeros(h * w, bool)
        mask[place[np.random.default_rng((h, w)).permutation(len(place))[:n]]] = True
        return dataclasses.replace(self, holdout=mask.reshape(h, w))


def seen(known: Bools | None, holdout: Bools | None) -> Bools:
    """Return where the loss looks: (H, W) or (H, W, C), True where an element is known and not held out."""
    if known is None:
        assert holdout is not None
        return ~holdout
    if holdout is None:
        return known
    return known & ~(holdout if known.ndim == 2 else holdout[..., None])


def itself(x: torch.Tensor) -> torch.Tensor:
    """Return a picture as it is: what is observed of it where nothing but noise is added."""
    return x


@dataclass(frozen=True)
class Problem:
    """What is known of the problem by whoever has to solve it; all that a criterion is told.

    Attributes:
        noisy: the observation, which may have another size than the outputs; None where a picture is measured by
            itself.
        sigma: the noise level on the 0-255 scale, where it is known; 0 where there is no noise.
        task: the task as canonical text.
        holdout: (H, W) of the observation, True where a pixel is kept out of the loss; None where none is.
        known: (H, W) or (H, W, C) of the observation, True where it is known; None where all of it is.
        observed: an output (C, H, W), or a batch of them, as it would have been observed without noise: what may be
            compared with `noisy`.
        size: height and width of the outputs; None where no optimisation says it.
    """

    noisy: Picture | None = None
    sigma: float | None = None
    task: str = "denoise"
    holdout: Bools | None = field(default=None, compare=False)
    known: Bools | None = field(default=None, compare=False)
    observed: Callable[[torch.Tensor], torch.Tensor] = field(default=itself, compare=False)
    size: tuple[int, int] | None = None

    @cached_property
    def noise(self) -> Noise | None:
        """The noise as the noisy picture alone shows it, estimated once; None where there is no picture."""
        if self.noisy is None:
            return None
        from esbench.noise import estimate

        return estimate(self.noisy.float)

    @property
    def noise_level(self) -> float | None:
        """`sigma` where it is known, else an estimate from the noisy picture, else None."""
        if self.sigma is not None or self.noise is None:
            return self.sigma
        return self.noise.sigma

    @property
    def seen(self) -> Bools | None:
        """(H, W) or (H, W, C) of the observation, True where the loss looks; None where it looks everywhere."""
        return None if self.known is None and self.holdout is None else seen(self.known, self.holdout)
