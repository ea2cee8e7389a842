"""What is measured on the way through a unit: a column for each criterion, and the trace with the score."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esbench.criterion import Criterion
from esbench.errors import PluginError
from esbench.rule import Running
from esbench.types import Block, Frame, Pictures


@dataclass
class Column:
    """A criterion on its way through a unit: its values, its rule, and the output that it would stop at."""

    criterion: Criterion
    rule: Running
    values: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    missing: int = 0
    reason: str = ""
    failed: str = ""
    output: Any = None  # (H, W, C) in [0, 1]

    def take(self, frames: Sequence[Frame]) -> None:
        """Measure a block. A criterion that fails costs its own column from there on, and nothing else."""
        if self.failed:
            return
        started = time.perf_counter()
        try:
            values = self.criterion.update_block(frames)
        except PluginError as error:
            self.failed = str(error)
            return
        ms = 1000 * (time.perf_counter() - started) / len(frames)
        for frame, value in zip(frames, values, strict=True):
            self.ms.append(ms)
            if value is not None and value.value is None:
                self.missing, self.reason = self.missing + 1, value.reason or self.reason
            for name, part in ({} if value is None else value.parts).items():
                self.parts.setdefault(name, [math.nan] * len(self.values)).append(float(part))
            number = None if value is None else value.value
            self.values.append(math.nan if number is None else number)
            for name in self.parts:
                if len(self.parts[name]) < len(self.values):
                    self.parts[name].append(math.nan)
            if self.rule.update(number):
                self.output = frame.float.copy()  # a view would keep its whole block

    def table(self) -> dict[str, Any]:
        """Return what is written to the disk."""
        return {
            "step": np.arange(len(self.values), dtype=np.int32),
            "value": np.array(self.values),
            "ms": np.array(self.ms, dtype=np.float32),
            **{name: np.array(part) for name, part in self.parts.items()},
        }


@dataclass
class Trace:
    """The numbers of a unit, and the best and the newest output."""

    clean: Any  # (1, C, H, W) on the device
    loss: list[float] = field(default_factory=list)
    average_loss: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    average_psnr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak: Any = None  # (H, W, C) in [0, 1]
    peak_db: float = -math.inf
    last: Any = None

    def take(self, block: Block, seconds: float) -> None:
        """Score a block; the one place that sees the clean picture."""
        psnr = self._score(block.outputs)
        best = max(range(len(psnr)), key=psnr.__getitem__)
        if self.peak is None or psnr[best] > self.peak_db:
            self.peak, self.peak_db = block.outputs[best].float.copy(), psnr[best]
        self.last = block.outputs[len(block) - 1]
        self.psnr += psnr
        self.average_psnr += self._score(block.averages)
        self.loss += block.losses
        self.average_loss += block.average_losses
        before = self.seconds[-1] if self.seconds else 0.0
        self.seconds += [before + seconds * (i + 1) / len(block) for i in range(len(block))]

    def _score(self, outputs: Pictures) -> list[float]:
        error = (outputs.tensor.clamp(0, 1) - self.clean).double().square().mean((1, 2, 3))
        # an output with NaN is infinitely far away
        return [-10 * math.log10(e) if e > 0 else math.inf if e == 0 else -math.inf for e in error.tolist()]

    def table(self) -> dict[str, Any]:
        """Return what is written to the disk."""
        return {
            "step": np.arange(len(self.loss), dtype=np.int32),
            "loss": np.array(self.loss),
            "psnr_db": np.array(self.psnr),
            "average_loss": np.array(self.average_loss),
            "average_psnr_db": np.array(self.average_psnr),
            "seconds": np.array(self.seconds),
        }
