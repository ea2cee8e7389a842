"""Stopper: criterion, rule and the best output so far, for a user's own loop."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import images, notebook, seeds
from esbench.average import Average
from esbench.engine import build
from esbench.errors import UsageError
from esbench.frames import Frame, Value
from esbench.observation import NoiseModel, Observation, Problem
from esbench.pictures import Guarded, Pictures
from esbench.registry import registry
from esbench.stopping.column import is_third_party
from esbench.stopping.criterion import Criterion, lacking
from esbench.stopping.rule import Running, Stop
from esbench.stopping.sentence import sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Best:
    """The best output so far.

    Attributes:
        step: its step; None before the criterion gave a value.
        value: the criterion there.
        output: a copy, of the same type as the output that was given.
    """

    step: int | None = None
    value: float | None = None
    output: Any = None

    def __repr__(self) -> str:
        if self.step is None:
            return "Best(none yet)"
        return f"Best(step={self.step}, value={self.value:.6g}, output={notebook.said(self.output)})"

    def _repr_html_(self) -> str:
        """Return the output and its step, for a notebook."""
        if self.step is None:
            return notebook.card("No step has a value yet.", {})
        facts = {"step": self.step, "value": f"{self.value:.6g}", "output": notebook.said(self.output)}
        return notebook.card(f"The best output so far: step {self.step}", facts, self.output)


class Stopper:
    """Decides when to stop and keeps the best output.

    Args:
        criterion: `name` or `name[key=value]`, as `esbench list-criteria` shows them.
        observation: the noisy picture; NumPy or torch, (H, W), (H, W, C), (C, H, W) or (1, C, H, W), uint8 or float in
            [0, 1]. Criteria that use it, or the noise level, need it.
        sigma: the noise level on the 0-255 scale, if it is known; else it is estimated from the observation when
            needed.
        patience: S, the steps that must pass without a better value.
        min_delta: how much lower a value must be to be better.
        task: the inverse problem, one of `esbench list tasks`; it may allow outputs of another size than the
            observation.

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
        best: the step, value and output of the best step so far; it is final once `update` returns True.
        stop: the decision, or None.
        values: the criterion at each step; NaN where it has no value.
    """

    def __init__(
        self,
        criterion: str = "cifs-jpeg",
        *,
        observation: Any = None,
        sigma: float | None = None,
        patience: int = 1000,
        min_delta: float = 0.0,
        task: str = "denoise",
    ) -> None:
        seen = None if observation is None else images.checked(observation, "observation")
        if sigma is not None and not 0 <= _number(sigma, "sigma") < math.inf:
            raise UsageError(f"sigma must be at least 0, got {sigma}.")
        component = registry().get("criterion", criterion)
        self._third_party = is_third_party(component.record)
        self._task = build.task(task)
        self._observation: Observation | None = None
        self.problem = Problem(sigma=sigma, task=task)
        if seen is not None:
            noise = NoiseModel() if sigma is None else NoiseModel("gaussian", sigma)
            self._observation = dataclasses.replace(self._task.observe(seen.float[0]), noise=noise)
            own = build.problem(task, self._task, self._observation)
            self.problem = dataclasses.replace(own, noisy=seen[0].guarded() if self._third_party else seen[0])
        self.criterion = Criterion(component, self.problem)
        undecided = [key for key, value in self.criterion.resolved.items() if value == "auto"]
        if seen is None and self.criterion.info.resolve is not None and undecided:
            raise UsageError(
                f"{self.criterion.text} needs the observation: Stopper(..., observation=...), or a number as "
                f"{undecided[0]}=..."
            )
        try:
            self._rule = Running(patience, _number(min_delta, "min_delta"))
        except ValueError as error:
            raise UsageError(f"{error}.") from None
        self.best = Best()
        self.values: list[float] = []
        self._average: Average | None = None
        self._size = self.problem.size

    def __repr__(self) -> str:
        return f"Stopper({self.criterion.text!r}, patience={self._rule.patience}: {self.reason})"

    def _repr_html_(self) -> str:
        """Return the best output and why it stopped, for a notebook."""
        facts = {"criterion": self.criterion.text, "patience": self._rule.patience, "steps": self._rule.step + 1}
        if self.best.value is not None:
            facts |= {"lowest value": f"{self.best.value:.6g}", "at step": self.best.step}
        return notebook.card(f"{self.reason}.", facts, self.best.output)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the values so far, with the best step, the patience after it and the stop; needs matplotlib's pyplot.

        Args:
            axes: the axes to draw on; None for a new figure.
        """
        return notebook.curve(
            self.values,
            self.criterion.text,
            best=self.best.step,
            patience=self._rule.patience,
            stopped=self.stop is not None,
            axes=axes,
        )

    @property
    def stop(self) -> Stop | None:
        """The decision, or None while there is none."""
        return self._rule.stop

    @property
    def reason(self) -> str:
        """Why it stopped, or the best step so far, in a sentence."""
        return sentence(self.criterion.text, self._rule)

    def update(self, output: Any, *, loss: Any = None) -> bool:
        """Take the output of the next step and return True once the stop is certain.

        Args:
            output: the picture of this step, of the same types as the observation.
            loss: its loss, for criteria that need one; a number or a tensor.

        Raises:
            UsageError: the criterion needs a loss, or the output is not a picture of the right size.
            PluginError: the criterion failed.
        """
        if self.stop is not None:
            return True
        number = None if loss is None else _number(loss, "loss")
        frame = self._frame(self._seen(output), self._rule.step + 1, number)
        with seeds.kept() if self._third_party else contextlib.nullcontext():
            value = self.criterion.update(frame)
        self._check_needs(frame, value)
        self.values.append(math.nan if value is None or value.value is None else value.value)
        if self._rule.update(None if value is None else value.value):
            copy = output.detach().clone() if hasattr(output, "detach") else output.copy()
            self.best = Best(self._rule.best_step, self._rule.best_value, copy)
        return self.stop is not None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue without a difference."""
        return {
            "criterion": self.criterion.text,
            "memory": self.criterion.state_dict(),
            "rule": self._rule.state_dict(),
            "best": asdict(self.best) | {"output": self.best.output},
            "values": list(self.values),
            "average": None if self._average is None else self._average.state_dict(),
            "size": self._size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another stopper with the same criterion.

        Raises:
            UsageError: the state is that of another criterion, or of something else.
        """
        if (
            not isinstance(state, dict)
            or not {"criterion", "memory", "rule", "best", "average", "size"} <= state.keys()
        ):
            raise UsageError("The state must be what state_dict() of a stopper has returned.")
        if state["criterion"] != self.criterion.text:
            raise UsageError(f"The state is that of {state['criterion']!r}, this stopper has {self.criterion.text!r}.")
        self.criterion.load_state_dict(state["memory"])
        self._rule.load_state_dict(state["rule"])
        self.best = Best(**state["best"])
        # an older version did not keep them
        self.values = list(state.get("values", [math.nan] * (self._rule.step + 1)))
        self._size = state["size"]
        if state["average"] is not None:
            self._average = Average()
            self._average.load_state_dict(state["average"])

    def _seen(self, output: Any) -> Pictures:
        """Return an output as the criterion is shown it, after checking it."""
        seen = images.pictures(output, "output")
        _in_range(seen)
        if self._size is None:
            self._size = seen[0].size
        if seen[0].size != self._size:
            raise UsageError(f"Every output must have the size of the first picture, {self._size}, got {seen[0].size}.")
        return Guarded(seen) if self._third_party else seen

    def _check_needs(self, frame: Frame, value: Value | None) -> None:
        """Check that a value is not missing because an input that the criterion needs was not passed."""
        need = lacking(self.criterion.info.needs, frame.average or frame)
        if need and value is not None and value.value is None:
            # the loss of the average is computed here, from the observation
            own = need == "loss" and frame.average is None
            hint = "loss: update(output, loss=...)" if own else "observation: Stopper(..., observation=...)"
            raise UsageError(f"{self.criterion.text} needs the {hint}.")

    def _frame(self, seen: Pictures, step: int, loss: float | None) -> Frame:
        """Return what the criterion sees; the average needs the memory of a picture, so it is kept only if used."""
        average = None
        if self.criterion.on == "average":
            if self._average is None:
                self._average = Average()
            # a copy, because the first one is kept, and the user may write to it
            pictures = Pictures(self._average.update(seen.tensor.clone() if seen._is_tensor else seen.float))
            # the given loss is that of the output
            of_average = None
            if self._observation is not None:
                x = pictures.tensor.float().clamp(0, 1)
                of_average = float(self._task.distance(x, self._observation))
            pictures = Guarded(pictures) if self._third_party else pictures
            average = Frame(pictures, step=step, loss=of_average, problem=self.problem)
        return Frame(seen, step=step, loss=loss, problem=self.problem, average=average)


def _number(value: Any, what: str) -> float:
    """Return a user's number, or tensor of one number, as a float.

    Raises:
        UsageError: it is something else.
    """
    try:
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise UsageError(f"{what} must be a number, got {value!r:.80}.") from None


def _in_range(seen: Pictures) -> None:
    """Check that an output is not on another scale; NaN is a missing value, not an error.

    Raises:
        UsageError: it is on another scale.
    """
    low, high = float(seen._source.min()), float(seen._source.max())
    if seen._source.dtype != np.uint8 and (low < -0.5 or high > 1.5):
        raise UsageError(f"output must be uint8 or float in [0, 1], got floats from {low:.3g} to {high:.3g}.")
