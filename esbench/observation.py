"""What is known of a problem by whoever has to solve it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from esbench.pictures import Bools, Picture

if TYPE_CHECKING:
    from esbench.noise import Noise


@dataclass(frozen=True)
class Problem:
    """What is known of the problem by whoever has to solve it.

    Attributes:
        noisy: the observation; None where a picture is measured by itself.
        sigma: the noise level on the 0-255 scale, where it is known.
        task: the name of the task.
        holdout: (H, W), True where a pixel is kept out of the loss; None where none is.
    """

    noisy: Picture | None = None
    sigma: float | None = None
    task: str = "denoise"
    holdout: Bools | None = field(default=None, compare=False)

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
