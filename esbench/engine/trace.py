"""The numbers of an optimisation and, if there is a clean picture, its score: only this module sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from esbench.frames import Block
from esbench.pictures import Floats, Picture, Pictures


@dataclass(frozen=True)
class Reference:
    """The clean picture.

    Attributes:
        clean: (1, C, H, W), on the device of the optimisation.
        score: the task's score in dB of an output (H, W, C); None if that is the PSNR.
    """

    clean: Any
    score: Callable[[Floats], float] | None = None


@dataclass
class Trace:
    """The numbers of an optimisation, a value per step, and the best and the newest output.

    Attributes:
        reference: scores the outputs; None if the clean picture is unknown.
    """

    reference: Reference | None = None
    loss: list[float] = field(default_factory=list)
    average_loss: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    psnr: list[float] = field(default_factory=list)
    average_psnr: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    average_score: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak: Any = None  # (H, W, C) in [0, 1]
    peak_db: float = -math.inf
    _last: Any = None

    @property
    def newest(self) -> Any:
        """The newest output, a `Picture` or (H, W, C) in [0, 1]; not a copy."""
        return self._last

    @property
    def last(self) -> Any:
        """The newest output, (H, W, C) in [0, 1]."""
        return self._last.copy() if isinstance(self._last, Picture) else self._last

    def take(self, block: Block, seconds: float) -> None:
        """Record a block with its time, and score it."""
        self.loss += block.losses
        self.average_loss += block.average_losses
        for name, values in block.parts.items():
            self.parts.setdefault(name, []).extend(values)
        before = self.seconds[-1] if self.seconds else 0.0
        self.seconds += [before + seconds * (i + 1) / len(block) for i in range(len(block))]
        self._last = block.outputs[len(block) - 1]
        if self.reference is not None:
            self._score(block, self.reference)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "reference"} | {"_last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another trace of the same optimisation."""
        for name, value in state.items():
            setattr(self, name, value)

    def table(self) -> dict[str, Any]:
        """Return the columns to write to the disk."""
        own = {"score_db": self.score, "average_score_db": self.average_score} if self.score else {}
        return {
            "step": np.arange(len(self.loss), dtype=np.int32),
            "loss": np.array(self.loss),
            "psnr_db": np.array(self.psnr),
            "average_loss": np.array(self.average_loss),
            "average_psnr_db": np.array(self.average_psnr),
            "seconds": np.array(self.seconds),
            **{name: np.array(values) for name, values in (own | self.parts).items()},
        }

    def _score(self, block: Block, reference: Reference) -> None:
        psnr = _psnr(block.outputs, reference.clean)
        best = max(range(len(psnr)), key=psnr.__getitem__)
        if self.peak is None or psnr[best] > self.peak_db:
            self.peak, self.peak_db = block.outputs[best].copy(), psnr[best]
        self.psnr += psnr
        self.average_psnr += _psnr(block.averages, reference.clean)
        if reference.score is not None:
            self.score += map(reference.score, block.outputs.float)
            self.average_score += map(reference.score, block.averages.float)


def _psnr(pictures: Pictures, clean: Any) -> list[float]:
    """Return the PSNR of each picture over all its elements; minus infinity if it has NaN."""
    error = (pictures.tensor.clamp(0, 1) - clean).double().square().mean((1, 2, 3))
    return [-10 * math.log10(e) if e > 0 else math.inf if e == 0 else -math.inf for e in error.tolist()]
