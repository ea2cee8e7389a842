"""The observation of an unknown picture and what is known of it when restoring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from esbench.pictures import Bools, Floats, Picture, Pictures

if TYPE_CHECKING:
    import torch

    from esbench.correlated import Correlation
    from esbench.noise import Noise


@dataclass(frozen=True)
class NoiseModel:
    """The known properties of the noise in an observation.

    Attributes:
        kind: the name of the degradation that made the noise; "none" without noise, "unknown" if not known.
        level: the value of `parameter`, if known.
        parameter: the parameter that the level belongs to: "sigma", on the 0-255 scale, for Gaussian noise.
        correlation: what pixels and channels share of it; None if they are independent.
        typical: the brightness at which noise that grows with it has the level.
    """

    kind: str = "unknown"
    level: float | None = None
    parameter: str = "sigma"
    correlation: Correlation | None = field(default=None, repr=False, compare=False)
    typical: float = 1.0

    @property
    def sigma(self) -> float | None:
        """The standard deviation on the 0-255 scale, if known."""
        if self.kind == "none":
            return 0.0
        return self.level if self.parameter == "sigma" else None


@dataclass(frozen=True, eq=False)
class Observation:
    """An observation of the unknown picture; the picture may have another size.

    Attributes:
        y: the observation, (H, W, C) in [0, 1].
        noise: the known properties of its noise.
        known: (H, W) or (H, W, C), True where y is known; None if all of it is.
        holdout: (H, W), True where a pixel is excluded from the loss, for criteria to use; None if none is.
        extra: further data by name, such as the guide of a flash pair or the coefficients of a JPEG.
    """

    y: Floats
    noise: NoiseModel = NoiseModel()
    known: Bools | None = None
    holdout: Bools | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    _tensors: dict[Any, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def sigma(self) -> float:
        """The standard deviation of the noise on the 0-255 scale: the known one, or an estimate from y."""
        return self._estimate.sigma if self.noise.sigma is None else self.noise.sigma

    @cached_property
    def _estimate(self) -> Noise:
        from esbench.noise import estimate

        return estimate(self.y, self.known)

    @cached_property
    def gain(self) -> float:
        """The gain s of shot noise, y = s Poisson(x / s), estimated from y."""
        from esbench.noise import estimate_gain

        return estimate_gain(self.y, self.known)

    def tensor(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """Return `y`, or an array of `extra`, as (1, C, H, W) on the device of another tensor; cached."""
        key = name, like.device
        if key not in self._tensors:
            array = self.y if name == "y" else self.extra[name]
            self._tensors[key] = Pictures(array[None]).tensor.to(like.device)
        return self._tensors[key]

    def used(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return 1 where the loss uses an element and else 0, (H, W) or (C, H, W); None if it uses all."""
        if self.known is None and self.holdout is None:
            return None
        key = "used", like.device
        if key not in self._tensors:
            import torch

            kept = torch.from_numpy(seen(self.known, self.holdout)).to(self.tensor("y", like))
            self._tensors[key] = kept if kept.ndim == 2 else kept.permute(2, 0, 1)
        return self._tensors[key]

    def weight(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return the weight of each element in a mean over those that the loss uses; None if it uses all."""
        if (used := self.used(like)) is None:
            return None
        key = "weight", like.device
        if key not in self._tensors:
            self._tensors[key] = used / used.mean()
        return self._tensors[key]

    def unclipped(self, like: torch.Tensor) -> torch.Tensor:
        """Return 1 for each element of y, and 0 for those that were clipped: that are exactly 0 or 1."""
        key = "unclipped", like.device
        if key not in self._tensors:
            y = self.tensor("y", like)
            self._tensors[key] = ((y != 0) & (y != 1)).to(y)
        return self._tensors[key]

    def spectrum(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return the `rfft2` of the filter that makes white noise (1, C, H, W) like that of y; None if it is white."""
        correlation = self._model.correlation
        if correlation is None:
            return None
        key = "spectrum", like.device
        if key not in self._tensors:
            import torch

            from esbench.correlated import around, filter_of

            w = torch.from_numpy(around(filter_of(correlation), *like.shape[-2:]))
            self._tensors[key] = torch.fft.rfft2(w.to(like))
        return self._tensors[key]

    def strength(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return the standard deviation of the noise of each element, relative to sigma; None if all have the same."""
        from esbench.noise import GROWS

        power = GROWS.get(self._model.kind, 0.0)
        if not power or self._model.correlation is not None:  # what kind processed noise is, is hard to tell
            return None
        key = "strength", like.device
        if key not in self._tensors:
            import torch

            y = torch.nn.functional.pad(self.tensor("y", like), (2, 2, 2, 2), mode="replicate")
            brightness = torch.nn.functional.avg_pool2d(y, 5, stride=1)
            self._tensors[key] = (brightness / max(self._model.typical, 1e-6)) ** power
        return self._tensors[key]

    @cached_property
    def _model(self) -> Noise | NoiseModel:
        return self._estimate if self.noise.sigma is None else self.noise

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of values, one per element of the observation, over the elements that the loss uses."""
        weight = self.weight(values)
        return values.mean() if weight is None else (weight * values).mean()

    def window(self, rows: slice, columns: slice) -> Observation:
        """Return a part of the observation, with the arrays in `extra` of its size cut in the same way."""
        return self._each(lambda array: array[rows, columns])

    def padded(self, h: int, w: int) -> Observation:
        """Return the observation padded by reflection at its right and lower edge to h x w."""
        import numpy as np

        height, width = self.y.shape[:2]
        if (h, w) == (height, width):
            return self
        edges = ((0, h - height), (0, w - width))
        return self._each(lambda array: np.pad(array, edges + ((0, 0),) * (array.ndim - 2), mode="symmetric"))

    def _each(self, change: Callable[[Any], Any]) -> Observation:
        """Return a copy with `change` applied to every array of the observation's size."""
        size = self.y.shape[:2]
        return dataclasses.replace(
            self,
            y=change(self.y),
            known=None if self.known is None else change(self.known),
            holdout=None if self.holdout is None else change(self.holdout),
            extra={name: change(a) if getattr(a, "shape", ())[:2] == size else a for name, a in self.extra.items()},
        )

    def holding_out(self, share: float) -> Observation:
        """Return a copy with a share of the known pixels, at least one, excluded from the loss in all channels."""
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


def without(y: Floats, missing: Bools) -> Observation:
    """Return the observation of a picture with missing pixels or values, which are set to 0."""
    import numpy as np

    gone = missing if missing.ndim == 3 else missing[..., None]
    return Observation(np.where(gone, np.float32(0), y), known=~missing)


def seen(known: Bools | None, holdout: Bools | None) -> Bools:
    """Return the elements that the loss uses: (H, W) or (H, W, C), True if known and not held out."""
    if known is None:
        assert holdout is not None
        return ~holdout
    if holdout is None:
        return known
    return known & ~(holdout if known.ndim == 2 else holdout[..., None])


def itself(x: torch.Tensor) -> torch.Tensor:
    """Return a picture unchanged: the forward operator of denoising."""
    return x


@dataclass(frozen=True)
class Problem:
    """The part of the problem that criteria get; never the clean picture.

    Attributes:
        noisy: the observation, which may have another size than the outputs; None for a single picture
            (`esbench measure`).
        sigma: the noise level on the 0-255 scale, if known; 0 without noise.
        task: the task as canonical text.
        holdout: (H, W) of the observation, True where a pixel is excluded from the loss; None if none is.
        known: (H, W) or (H, W, C) of the observation, True where it is known; None if all of it is.
        observed: maps an output (C, H, W), or a batch of them, to its noise-free observation, to compare with `noisy`.
        size: height and width of the outputs; None without an optimisation.
        outside: maps an output (C, H, W) to the share of the ranges that it is outside of; None if the task knows none.
        found: estimates the noise level of the observation, or 0, if the task has no noise of its own; else None.
    """

    noisy: Picture | None = None
    sigma: float | None = None
    task: str = "denoise"
    holdout: Bools | None = field(default=None, compare=False)
    known: Bools | None = field(default=None, compare=False)
    observed: Callable[[torch.Tensor], torch.Tensor] = field(default=itself, compare=False)
    size: tuple[int, int] | None = None
    outside: Callable[[torch.Tensor], float] | None = field(default=None, compare=False)
    found: Callable[[], float] | None = field(default=None, compare=False)

    @cached_property
    def noise(self) -> Noise | None:
        """The noise estimated from the observation, cached; None without an observation."""
        if self.noisy is None:
            return None
        from esbench.noise import estimate, of_level

        y = self.noisy.float
        return estimate(y, self.known) if self.found is None else of_level(y, self.found(), self.known)

    @property
    def noise_level(self) -> float | None:
        """`sigma` if known, else an estimate from the observation, else None."""
        if self.sigma is not None or self.noise is None:
            return self.sigma
        return self.noise.sigma

    @property
    def seen(self) -> Bools | None:
        """(H, W) or (H, W, C) of the observation, True where the loss uses it; None if it uses all of it."""
        return None if self.known is None and self.holdout is None else seen(self.known, self.holdout)
