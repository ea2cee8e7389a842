"""The discrepancy principle: stop at the step at which the residual is as large as the noise.

Morozov's principle, with a correction. While the picture is learned, the residual falls to the level of the noise;
below it, noise is fitted. At the best step some noise has already been fitted, so the residual is a little smaller than
the noise. By how much follows from its slope: at that step the error of the picture does not change, so the residual
falls only because noise is fitted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from esbench.errors import ParamError
from esbench.frames import Frame, Value
from esbench.noise import clipped_variance
from esbench.observation import Problem
from esbench.records import Range

if TYPE_CHECKING:
    import torch

#: The number of values of the residual from which its slope is computed.
WINDOW = 50


class Discrepancy:
    """|r + slope * s - c v| with the residual r = mean (x - y)^2, its fall s = -dr / d log t, and the variance v.

    If an output has fitted the share d of the noise, and its error is e v, the residual is v (1 - 2 d + e). At the
    smallest e, s is 2 v dd / d log t, which is 2 p v d if d grows with the power p of the steps: v - r is a constant
    times s. Recorded with the value: `residual` and `fall`.
    """

    def __init__(
        self,
        *,
        c: Annotated[float, Range(0)] = 1.0,
        slope: Annotated[float, Range(0)] = 0.3,
        variance: Annotated[float | Literal["auto", "sigma"], Range(0)] = "auto",
    ) -> None:
        self.c, self.slope, self.variance = c, slope, variance
        self.points: list[tuple[float, float]] = []  # log t and r of the last steps
        self._y: torch.Tensor | None = None
        self._kept: torch.Tensor | None = None

    def update(self, frame: Frame) -> Value:
        """Take the output of the next step and return the distance."""
        assert not isinstance(self.variance, str), "resolve() comes first"
        if frame.problem.noisy is None:
            return Value(None, reason="needs the noisy picture")
        r = self._residual(frame)
        if r is None:
            return Value(None, reason="needs a noisy picture of the output's size")
        self.points = [*self.points[1 - WINDOW :], (math.log(frame.step + 1), r)]
        s = _fall(self.points)
        return Value(abs(r + self.slope * s - self.c * self.variance), {"residual": r, "fall": s})

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs."""
        return {"points": list(self.points)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.points = list(state["points"])

    def _residual(self, frame: Frame) -> float | None:
        """Return the mean of (forward(x) - y)^2 over the fitted pixels; None if the sizes differ."""
        import torch

        problem = frame.problem
        x = problem.observed(frame.tensor.float().clamp(0, 1))
        if self._y is None:
            assert problem.noisy is not None
            self._y = problem.noisy.tensor.to(x)
            self._kept = None if problem.seen is None else torch.from_numpy(problem.seen).to(x.device)
        if x.shape != self._y.shape:
            return None
        error = (x - self._y).square()
        if self._kept is not None:
            error = error[:, self._kept] if self._kept.ndim == 2 else error.permute(1, 2, 0)[self._kept]
        return float(error.mean(dtype=torch.float64))


def resolve(problem: Problem, *, c: float, slope: float, variance: float | str) -> dict[str, Any]:
    """Return the parameters with v as a number, if the problem has a noisy picture.

    Raises:
        ParamError: the known noise level is requested, and none is known.
    """
    if problem.noisy is not None:
        if variance == "sigma":
            if problem.sigma is None:
                raise ParamError(
                    "discrepancy[variance=sigma] needs a noise level, and none is known: variance=auto estimates it "
                    "from the noisy picture."
                )
            variance = clipped_variance(problem.noisy.float, problem.sigma, problem.known)
        elif variance == "auto":
            assert problem.noise is not None
            variance = problem.noise.variance
    return {"c": c, "slope": slope, "variance": variance}


def _fall(points: list[tuple[float, float]]) -> float:
    """Return the fall of the residual per log t, by least squares; 0 if it rises, or if there are too few values."""
    n = len(points)
    if n < 2:
        return 0.0
    mean_x, mean_r = (math.fsum(values) / n for values in zip(*points, strict=True))
    across = math.fsum((x - mean_x) ** 2 for x, _ in points)
    return max(0.0, -math.fsum((x - mean_x) * (r - mean_r) for x, r in points) / across)
