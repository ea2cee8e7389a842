"""Adam, by the kernels of PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.adam import adam

#: The parameters of Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """What `torch.optim.Adam` does, without its import of PyTorch's compiler, which takes longer than many steps.

    Args:
        parameters: what to optimise.
        learning_rate: the learning rate.
        fused: whether one kernel does it all.
        capturable: whether a step can be captured in a graph.

    Attributes:
        state: the moments of the parameters that had a gradient: `exp_avg`, `exp_avg_sq` and the number of steps.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        learning_rate: float,
        *,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        self._parameters, self._learning_rate = list(parameters), learning_rate
        self._fused, self._capturable = fused, capturable
        self.state: dict[torch.nn.Parameter, dict[str, torch.Tensor]] = {}

    def zero_grad(self) -> None:
        """Remove the gradients."""
        for p in self._parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        moved = [p for p in self._parameters if p.grad is not None]
        moments = [self.state.get(p) or self._begun(p) for p in moved]
        adam(
            moved,  # type: ignore[arg-type]
            [p.grad for p in moved],  # type: ignore[misc]
            [each["exp_avg"] for each in moments],
            [each["exp_avg_sq"] for each in moments],
            [],
            [each["step"] for each in moments],
            fused=self._fused,
            capturable=self._capturable,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=self._learning_rate,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the moments by the number of their parameter."""
        return {"state": {i: dict(self.state[p]) for i, p in enumerate(self._parameters) if p in self.state}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the moments of a `state_dict`."""
        self.state = {self._parameters[i]: dict(moments) for i, moments in state["state"].items()}

    def _begun(self, p: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        device = p.device if self._fused or self._capturable else "cpu"
        self.state[p] = {
            "step": torch.zeros((), dtype=torch.float32, device=device),
            "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
        }
        return self.state[p]
