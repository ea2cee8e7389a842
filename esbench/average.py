"""The exponential average of the outputs: that of the literature, and the unbiased one that is returned."""

from __future__ import annotations

from typing import Any


class Average:
    """a_t = decay a_{t-1} + (1 - decay) x_t from a_0 = x_0.

    Args:
        decay: the decay of the weights.
        unbiased: start from a_{-1} = 0 instead, and divide by the sum of the weights, 1 - decay^(t + 1), so that the
            first output has no extra weight. After about 400 steps of decay 0.99 the two are the same. Traces record
            the plain one; the unbiased one is returned to users. It skips outputs that are not finite.
    """

    def __init__(self, decay: float = 0.99, *, unbiased: bool = False) -> None:
        self.decay, self.unbiased = decay, unbiased
        self._sum: Any = None
        self._weights: Any = None

    @property
    def value(self) -> Any:
        """The average; None before the first output."""
        return self._sum if self._weights is None else self._sum / self._weights

    def update(self, x: Any) -> Any:
        """Take the next output, a tensor (or an array, if it is not unbiased), and return the average."""
        if not self.unbiased:
            self._sum = x if self._sum is None else self.decay * self._sum + (1 - self.decay) * x
            return self.value
        import torch

        if self._sum is None:
            self._sum, self._weights = torch.zeros_like(x), torch.zeros((), dtype=torch.float64, device=x.device)
        finite = x.isfinite().all()  # not evaluated here: that would wait for a GPU
        self._sum = torch.where(finite, self.decay * self._sum + (1 - self.decay) * x, self._sum)
        self._weights = torch.where(finite, self.decay * self._weights + (1 - self.decay), self._weights)
        return self.value

    def restore(self) -> None:
        """Restart if the average is not finite: the optimisation went back to an earlier state."""
        if self._sum is not None and not self._sum.isfinite().all():
            self._sum = self._weights = None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue."""
        return {"sum": self._sum, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another average."""
        self._sum, self._weights = state["sum"], state["weights"]
