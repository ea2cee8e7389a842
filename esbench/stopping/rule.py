"""The stopping rule: it maps a curve of numbers to a stop. All criteria use it, which makes them comparable.

Eq. (4) of the CIFS paper returns the first step that the next S steps do not undercut,

    t* = min { t : M_t <= M_tau  for all  tau in (t, t + S] },

where S is the patience. It equals the running minimum with patience of ES-WMV: the first such t is a strict minimum of
all steps before it (if an earlier s were as low, s would not have been undercut within its own window either), so it
is enough to remember the smallest value so far and to stop once it has not been undercut for S steps.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Stop:
    """The stop of a curve.

    Attributes:
        step: the chosen step.
        value: the criterion there; None if the chosen step has none.
        decided_at: the step at which the choice became certain.
        fallback: True when no step satisfied the rule and the last one was taken.
    """

    step: int
    value: float | None
    decided_at: int
    fallback: bool = False


@dataclass
class Running:
    """The rule, fed one value at a time.

    Args:
        patience: S, the number of following steps that must not undercut a step; at least 0.
        min_delta: a value undercuts the best so far if it is lower by more than this; 0 is Eq. (4).
    """

    patience: int = 1000
    min_delta: float = 0.0
    step: int = -1  # the last step seen
    best_step: int | None = None  # the smallest value so far, the earlier step on a tie
    best_value: float = math.inf
    stop: Stop | None = None

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, numbers.Integral):
            raise ValueError(f"patience must be a whole number, got {self.patience!r}")
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, got {self.patience}")
        if not self.min_delta >= 0:
            raise ValueError(f"min_delta must be at least 0, got {self.min_delta}")

    def update(self, value: float | None) -> bool:
        """Take the value of the next step (None or NaN: missing) and return True if it is the best so far.

        A missing value never undercuts and its step still counts towards patience. Once `stop` is set nothing changes.
        """
        if self.stop is not None:
            return False
        self.step += 1
        number = math.nan if value is None else float(value)  # a float32 would be compared in its own precision
        undercuts = number < self.best_value - self.min_delta or (self.best_step is None and not math.isnan(number))
        if undercuts:
            self.best_step, self.best_value = self.step, number
        if self.best_step is not None and self.step - self.best_step >= self.patience:
            self.stop = Stop(self.best_step, self.best_value, decided_at=self.step)
        return undercuts

    def state_dict(self) -> dict[str, object]:
        """Return what `load_state_dict` needs to continue."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from the state of another rule."""
        for name, value in state.items():
            setattr(self, name, value)
        if isinstance(self.stop, dict):
            self.stop = Stop(**self.stop)


def first_stop(curve: Iterable[float | None], patience: int = 1000, min_delta: float = 0.0) -> Stop:
    """Return the stop of a whole curve: Eq. (4), over the steps t < len(curve) - patience.

    Args:
        curve: one value per step from step 0, lower is better; None and NaN are missing values.
        patience: S, the number of following steps that must all be on the curve and not undercut the chosen one.
        min_delta: a value undercuts the best so far if it is lower by more than this.

    Returns:
        The stop; if no step satisfies the rule, the last step, with `fallback=True`.

    Raises:
        ValueError: the curve is empty, or patience or min_delta is negative.

    Examples:
        >>> first_stop([5, 3, 1, 2, 2, 4], patience=3)
        Stop(step=2, value=1.0, decided_at=5, fallback=False)
    """
    rule = Running(patience, min_delta)
    value: float | None = None
    for value in curve:
        rule.update(value)
        if rule.stop is not None:
            return rule.stop
    if rule.step < 0:
        raise ValueError("a curve needs at least one step, got none")
    missing = value is None or math.isnan(value)
    return Stop(rule.step, None if missing else float(value), decided_at=rule.step, fallback=True)  # type: ignore[arg-type]
