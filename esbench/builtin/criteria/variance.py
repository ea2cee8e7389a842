"""The variance of the outputs over time, which is smallest between learning the picture and learning the noise.

Wang et al., "Early stopping for deep image prior" (TMLR 2023). N is the number of elements of an output; sums are in
float64, because the variances are thousands of times smaller than the squares in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from esbench.frames import Frame
from esbench.records import Range

if TYPE_CHECKING:
    import torch


class WindowedVariance:
    """WMV: (1/W) sum over w of |x_w - mean(x)|^2 / N over the last W outputs; no value before there are W.

    O(N) per step. With d_w = x_w - c the variance is sum |d_w|^2 / (W N) - |sum d_w / W|^2 / N for any picture c, so
    two running sums are enough. If c is near the outputs, the two terms are small and their difference is accurate: c
    is the newest output when the window is first full. It is renewed every EVERY W steps together with the sums, so
    that rounding errors do not accumulate over a long run, and also when the variance has fallen so far that rounding
    errors of larger ones would matter.

    With `pixels`, x is that many pixels of each output, with all their channels: memory and time fall in proportion.
    They are drawn at random, the same ones for all pictures of one size; of a smaller picture all are used.
    """

    #: Windows from one renewal to the next.
    EVERY = 10

    #: Renewed if W N times the variance is below this share of the largest sum of squares since the last renewal.
    FALL = 1e-4

    def __init__(
        self,
        *,
        window: Annotated[int, Range(2)] = 100,
        pixels: Annotated[int | Literal["all"], Range(1)] = "all",
    ) -> None:
        self.window, self.pixels = window, pixels
        self.index: torch.Tensor | None = None  # of the pixels, if not all are used
        self.count = 0
        self.x: torch.Tensor | None = None  # the last W outputs, (W, N), in a ring buffer
        self.c: torch.Tensor | None = None  # (N,)
        self.sum: torch.Tensor | None = None  # sum of d_w, (N,)
        self.square = 0.0  # sum of |d_w|^2
        self.largest = 0.0  # the largest of these sums since c was renewed

    def update(self, frame: Frame) -> float | None:
        """Take the output of the next step and return the variance of the window."""
        import torch

        x = self._chosen(frame.tensor).reshape(-1)
        if self.x is None:
            self.x = x.new_zeros(self.window, x.numel())
            self.c, self.sum = x.new_zeros(2, x.numel(), dtype=torch.float64)
        assert self.c is not None
        assert self.sum is not None
        place = self.count % self.window
        # in float64, like c; an empty place contributes nothing
        old = self.x[place] - self.c if self.count >= self.window else torch.zeros_like(self.c)
        self.x[place] = x
        self.count += 1
        if self.count % (self.EVERY * self.window) == self.window:
            total = self._renew(x)
        else:
            new = x - self.c
            self.sum.sub_(old).add_(new)
            # read together: on a GPU each read would wait
            less, more, of_sum = torch.stack([old @ old, new @ new, self.sum @ self.sum]).tolist()
            self.square += more - less
            self.largest = max(self.largest, self.square)
            total = self.square - of_sum / self.window
        if self.count < self.window:
            return None
        if total < self.FALL * self.largest:
            total = self._renew(x)
        return total / (self.window * x.numel())

    def _chosen(self, x: torch.Tensor) -> torch.Tensor:
        """Return the pixels of an output (C, H, W) that are used."""
        import torch

        c, h, w = x.shape
        if self.pixels == "all" or self.pixels >= h * w:
            return x
        if self.index is None:
            drawn = np.random.default_rng((h, w)).choice(h * w, self.pixels, replace=False)
            self.index = torch.from_numpy(drawn).to(x.device)
        return x.reshape(c, -1)[:, self.index]

    def _renew(self, newest: torch.Tensor) -> float:
        """Recompute the sums around the newest output, in W N operations, and return W N times the variance."""
        import torch

        assert self.x is not None
        self.c = newest.to(torch.float64, copy=True)
        sums, squares = [], []
        # a CPU processes at once as much as fits into its cache
        pixels = 2**10 if newest.device.type == "cpu" else 2**16
        for x, c in zip(torch.split(self.x, pixels, 1), torch.split(self.c, pixels), strict=True):
            d = x - c
            sums.append(d.sum(0))
            squares.append(d.square_().sum())
        self.sum, square = torch.cat(sums), torch.stack(squares).sum()
        of_sum: float
        self.square, of_sum = torch.stack([square, self.sum @ self.sum]).tolist()
        self.largest = self.square
        return self.square - of_sum / self.window

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs."""
        tensors = {name: None if (t := getattr(self, name)) is None else t.clone() for name in ("x", "c", "sum")}
        return {"count": self.count, "square": self.square, "largest": self.largest, **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name, value in state.items():
            setattr(self, name, value.clone() if hasattr(value, "clone") else value)


class ExponentialVariance:
    """EMV: V_t = (1 - alpha) (V_(t-1) + alpha |delta|^2 / N), delta = x_t - mu_(t-1), mu_t = mu_(t-1) + alpha delta.

    Divided by N, unlike the authors' code: the smallest value is at the same step, and comparable with WMV. As there,
    the first `burn_in` steps are accumulated and give no value.
    """

    def __init__(self, *, alpha: Annotated[float, Range(0, 1)] = 0.1, burn_in: Annotated[int, Range(0)] = 101) -> None:
        self.alpha, self.burn_in = alpha, burn_in
        self.count = 0
        self.mu: torch.Tensor | None = None
        self.v = 0.0

    def update(self, frame: Frame) -> float | None:
        """Take the output of the next step and return the variance."""
        import torch

        x = frame.tensor.reshape(-1).to(torch.float64, copy=True)
        if self.mu is None:
            self.mu = x
        else:
            delta = x - self.mu
            self.mu = self.mu + self.alpha * delta
            self.v = (1 - self.alpha) * (self.v + self.alpha * float(delta @ delta) / x.numel())
        self.count += 1
        return self.v if self.count > self.burn_in else None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs."""
        return {"count": self.count, "v": self.v, "mu": None if self.mu is None else self.mu.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.count, self.v = state["count"], state["v"]
        self.mu = None if state["mu"] is None else state["mu"].clone()
