"""Unbiased estimates of the squared error as criteria, with any loss, and the steps at which they become negative.

They need the divergence of the network with respect to the observation, which a probe measures with one random
direction at each step. They exist only if the input of the network is the unchanged observation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import Range

if TYPE_CHECKING:
    from esbench.kinds import Step


def sure(frame: Frame, *, sigma: Annotated[float | Literal["auto"], Range(0)] = "auto") -> Value:
    """Return the mean of (f(y) - y)^2, plus 2 sigma^2 div f(y) / N, minus sigma^2, with sigma on the 0-255 scale."""
    why = _no_value(frame)
    return Value(None, reason=why) if why else Value(recompute_sure(frame.probes, sigma=sigma))


def recompute_sure(columns: Mapping[str, Any], *, sigma: Any) -> Any:
    """Return the values from what the probe recorded."""
    variance = (sigma / 255) ** 2
    return columns["residual"] + 2 * variance * columns["divergence"] - variance


def probe_sure(step: Step) -> dict[str, Any]:
    """Return the mean of (f(y) - y)^2, of y before clipping, and an estimate of div f(y) / N; nothing if none exist."""
    from esbench import clipping, divergence

    if not divergence.given_itself(step):
        return {}
    step.z.requires_grad_()
    return {
        "divergence": divergence.divergence(step, divergence.noise(step), graph=False),
        "residual": clipping.residual(step),
    }


def resolve_sigma(problem: Problem, *, sigma: float | str) -> dict[str, Any]:
    """Return the noise level as a number, if the problem has a noisy picture."""
    return {"sigma": problem.noise_level if sigma == "auto" and problem.noisy is not None else sigma}


def pure(frame: Frame, *, gain: Annotated[float | Literal["auto"], Range(0)] = "auto") -> Value:
    """Return the mean of (f(y) - y)^2, plus 2 gain y_i df_i/dy_i, minus gain y."""
    why = _no_value(frame)
    return Value(None, reason=why) if why else Value(recompute_pure(frame.probes, gain=gain))


def recompute_pure(columns: Mapping[str, Any], *, gain: Any) -> Any:
    """Return the values from what the probe recorded."""
    return columns["residual"] + 2 * gain * columns["divergence"] - gain * columns["brightness"]


def probe_pure(step: Step) -> dict[str, Any]:
    """Return the means of (f(y) - y)^2 and y, and an estimate of that of y_i df_i/dy_i; nothing if there are none."""
    from esbench import divergence

    if not divergence.given_itself(step):
        return {}
    step.z.requires_grad_()
    return {
        "divergence": divergence.divergence(step, divergence.signs(step), by=step.y, graph=False),
        "residual": step.data,
        "brightness": step.observation.mean(step.y),
    }


def resolve_gain(problem: Problem, *, gain: float | str) -> dict[str, Any]:
    """Return the gain as a number, if the problem has a noisy picture."""
    from esbench.noise import estimate_gain

    return {"gain": estimate_gain(problem.noisy.float) if gain == "auto" and problem.noisy is not None else gain}


class SureZero:
    """Minus the number of steps until `sure` is negative for the first time, and 0 from there on."""

    def __init__(self, *, sigma: Annotated[float | Literal["auto"], Range(0)] = "auto") -> None:
        self._estimate: Callable[[Frame], Value] = lambda frame: sure(frame, sigma=sigma)
        self.crossed = False

    def update(self, frame: Frame) -> Value:
        """Return the value at the next step."""
        estimate = self._estimate(frame)
        if estimate.value is None:
            return estimate
        self.crossed = self.crossed or estimate.value < 0
        return Value(0.0 if self.crossed else -1.0 - frame.step, {"estimate": estimate.value})

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`."""
        return {"crossed": self.crossed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.crossed = state["crossed"]


class PureZero(SureZero):
    """Minus the number of steps until `pure` is negative for the first time, and 0 from there on."""

    def __init__(self, *, gain: Annotated[float | Literal["auto"], Range(0)] = "auto") -> None:
        super().__init__()
        self._estimate = lambda frame: pure(frame, gain=gain)


def _no_value(frame: Frame) -> str:
    """Return why there is no estimate of this frame; empty if there is one."""
    if not frame.probes:
        return "needs a network whose input is the observation: --input observation, --perturbation 0"
    if frame.average is None:
        return "is an estimate for the output, not for an average of outputs"
    return ""
