"""Stopper: criterion, rule and the best output so far, for somebody's own loop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from esbench import images
from esbench.engine.settings import Settings
from esbench.errors import UsageError
from esbench.frames import Frame
from esbench.observation import Problem
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.stopping.criterion import Criterion, lacking
from esbench.stopping.rule import Running, Stop

#: Decay of the exponential average of the outputs.
DECAY = Settings.decay


@dataclass(frozen=True)
class Best:
    """The best output so far.

    Attributes:
        step: its step; None before the criterion gave a value.
        value: the criterion there.
        output: a copy, of the kind that was handed in.
    """

    step: int | None = None
    value: float | None = None
    output: Any = None


class Stopper:
    """Says when to stop, and keeps what to stop at.

    Args:
        criterion: `name` or `name[key=value]`, as `esbench list-criteria` shows them.
        observation: the noisy picture; NumPy or torch, (H, W), (H, W, C), (C, H, W) or (1, C, H, W), uint8 or float in
            [0, 1]. Criteria that look at it, or at the noise level, need it.
        sigma: the noise level on the 0-255 scale, where it is known; else it is estimated from the observation when
            needed.
        patience: S, the steps that must pass without a better value.
        min_delta: how much lower a value must be to be better.

    Example:
        ```python
        import numpy as np

        import esbench

        rng = np.random.default_rng(0)
        stopper = esbench.Stopper("wmv[window=10]", patience=50)
        for step in range(500):
            unrest = abs(step - 100) / 1000  # your own network's output goes here: it settles, then takes up the noise
            if stopper.update(0.5 + unrest * rng.standard_normal((64, 64, 3))):
                break
        print(stopper.best.step, stopper.reason)
        ```

    Attributes:
        best: the step, value and output of the best step so far, which is where to stop once `update` returns True.
        stop: the decision, or None.
    """

    def __init__(
        self,
        criterion: str = "cifs-jpeg",
        *,
        observation: Any = None,
        sigma: float | None = None,
        patience: int = 1000,
        min_delta: float = 0.0,
    ) -> None:
        noisy = None if observation is None else images.checked(observation, "observation")[0]
        self.problem = Problem(noisy=noisy, sigma=sigma)
        self.criterion = Criterion(registry().get("criterion", criterion), self.problem)
        undecided = [key for key, value in self.criterion.resolved.items() if value == "auto"]
        if noisy is None and self.criterion.info.resolve is not None and undecided:
            raise UsageError(
                f"{self.criterion.text} needs the observation: Stopper(..., observation=...), or a number as "
                f"{undecided[0]}=..."
            )
        try:
            self._rule = Running(patience, min_delta)
        except ValueError as error:
            raise UsageError(f"{error}.") from None
        self.best = Best()
        self._average: Any = None
        self._size: tuple[int, ...] | None = None if noisy is None else noisy.size

    @property
    def stop(self) -> Stop | None:
        """The decision, or None while there is none."""
        return self._rule.stop

    @property
    def reason(self) -> str:
        """Why it stopped, or how far it is, in a sentence."""
        text, best = self.criterion.text, self.best
        if self.stop is not None:
            return (
                f"{text} was lowest at step {best.step} ({best.value:.6g}), not undercut in {self._rule.patience} steps"
            )
        if best.step is None:
            return f"{text} has had no value in {self._rule.step + 1} steps"
        return (
            f"not stopped: {text} is lowest at step {best.step} ({best.value:.6g}), seen up to step {self._rule.step}"
        )

    def update(self, output: Any, *, loss: Any = None) -> bool:
        """Take the output of the next step and return True once the stop is certain.

        Args:
            output: the picture of this step, of the same kinds as the observation.
            loss: its loss, for criteria that need one; a tensor will do.

        Raises:
            UsageError: the criterion needs a loss, or the output is no picture of the right size.
            PluginError: the criterion failed.
        """
        if self.stop is not None:
            return True
        seen = images.pictures(output, "output")
        if self._size is None:
            self._size = seen[0].size
        if seen[0].size != self._size:
            raise UsageError(f"Every output must have the size of the first picture, {self._size}, got {seen[0].size}.")
        number = None if loss is None else float(loss.detach() if hasattr(loss, "detach") else loss)
        frame = self._frame(seen, self._rule.step + 1, number)
        value = self.criterion.update(frame)
        need = lacking(self.criterion.info.needs, frame.average or frame)
        if need and value is not None and value.value is None:
            # the loss of the average is worked out here, from the observation
            own = need == "loss" and frame.average is None
            hint = "loss: update(output, loss=...)" if own else "observation: Stopper(..., observation=...)"
            raise UsageError(f"{self.criterion.text} needs the {hint}.")
        if self._rule.update(None if value is None else value.value):
            copy = output.detach().clone() if hasattr(output, "detach") else output.copy()
            self.best = Best(self._rule.best_step, self._rule.best_value, copy)
        return self.stop is not None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on as if nothing had happened."""
        return {
            "criterion": self.criterion.text,
            "memory": self.criterion.state_dict(),
            "rule": self._rule.state_dict(),
            "best": asdict(self.best) | {"output": self.best.output},
            "average": self._average,
            "size": self._size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another stopper with the same criterion left off.

        Raises:
            UsageError: the state is that of another criterion.
        """
        if state["criterion"] != self.criterion.text:
            raise UsageError(f"The state is that of {state['criterion']!r}, this stopper has {self.criterion.text!r}.")
        self.criterion.load_state_dict(state["memory"])
        self._rule.load_state_dict(state["rule"])
        self.best = Best(**state["best"])
        self._average, self._size = state["average"], state["size"]

    def _frame(self, seen: Pictures, step: int, loss: float | None) -> Frame:
        """Return what the criterion sees; the average costs a picture of memory, and is kept only on demand."""
        average = None
        if self.criterion.on == "average":
            x = seen.tensor if seen._is_tensor else seen.float
            self._average = x if self._average is None else DECAY * self._average + (1 - DECAY) * x
            pictures, noisy = Pictures(self._average), self.problem.noisy
            # the loss that was handed in is that of the output
            of_average = None if noisy is None else float(((pictures.float[0] - noisy.float) ** 2).mean())
            average = Frame(pictures, step=step, loss=of_average, problem=self.problem)
        return Frame(seen, step=step, loss=loss, problem=self.problem, average=average)
