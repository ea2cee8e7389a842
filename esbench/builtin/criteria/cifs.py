"""CIFS, compressed image file size: a good output is close to the observation and compresses well.

Takagi et al., "JPEG information regularized deep image prior for denoising" (ICIP 2023).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from importlib import resources
from itertools import pairwise
from typing import Annotated, Any, Literal, SupportsIndex

from esbench import params
from esbench.errors import LoadError, ParamError
from esbench.frames import Frame, Value
from esbench.observation import Problem
from esbench.records import CodecInfo, Range

#: The standard deviation of rounding to whole numbers.
ROUNDING = 1 / math.sqrt(12)


class Cifs:
    """E = lam * loss + R(L) with R(L) = L^2 / (H W), where L is the file size of the output in bytes: Eq. (2) and (3).

    A number given as `lam` is taken literally, in bytes^2 per unit of the loss (mean squared error in [0, 1]). R grows
    with the number of pixels while the loss does not, so a calibration finds mu = lam / (H W), and `auto` is
    lam = mu * H * W.

    Args:
        codec: measures the size; its parameters become parameters of the criterion.
    """

    def __init__(self, codec: CodecInfo) -> None:
        self.codec = codec

    def __call__(self, frame: Frame, *, lam: float | str, **options: Any) -> Value:
        """Return E of one output, with L as its part `bytes`."""
        encoded = self._encode(frame.uint8, **options)
        if not isinstance(encoded, bytes | bytearray | memoryview | SupportsIndex):
            raise TypeError(f"the codec must return bytes or their number, got a {type(encoded).__name__}")
        size = int(encoded) if isinstance(encoded, SupportsIndex) else memoryview(encoded).nbytes
        parts = {"bytes": float(size)}
        h, w = frame.size
        r = size**2 / (h * w)
        if lam == 0:
            return Value(r, parts)
        if frame.loss is None:
            return Value(None, parts, "needs the loss of an optimisation; with lam=0 it is the size alone")
        assert not isinstance(lam, str), "resolve() comes first"
        return Value(lam * frame.loss + r, parts)

    def resolve(self, problem: Problem, *, lam: float | str, **options: Any) -> dict[str, Any]:
        """Return the parameters with lam as a number: from the calibrated table if it is `auto`.

        Raises:
            ParamError: the table has no row for this codec with these parameters.
        """
        if lam == "auto" and problem.noisy is not None:
            sigma = problem.noise_level
            assert sigma is not None
            h, w = problem.noisy.size
            lam = mu(self.codec.name, self.codec_text(options), sigma) * h * w
        return {"lam": lam, **options}

    def recompute(self, columns: Mapping[str, Any], *, lam: float, **options: Any) -> Any:
        """Return E of every step from sizes and losses, with the operations of `__call__` in the same order."""
        r = columns["bytes"] ** 2 / columns["pixels"]
        return r if lam == 0 else lam * columns["loss"] + r

    def codec_text(self, values: Mapping[str, Any]) -> str:
        """Return the canonical text of the codec with its share of the parameters: the key of the calibrated table."""
        options = {key: value for key, value in values.items() if key in self._codec_parameters}
        return params.canonical(self.codec.name, options, self._codec_parameters)

    @property
    def __signature__(self) -> inspect.Signature:
        kinds = inspect.Parameter
        return inspect.Signature(
            [
                kinds("frame", kinds.POSITIONAL_OR_KEYWORD),
                kinds(
                    "lam", kinds.KEYWORD_ONLY, default="auto", annotation=Annotated[float | Literal["auto"], Range(0)]
                ),
                *(
                    kinds(p.name, kinds.KEYWORD_ONLY, default=p.default, annotation=p.annotation)
                    for p in self._codec_parameters.values()
                ),
            ]
        )

    @functools.cached_property
    def _encode(self) -> Callable[..., bytes | int]:
        target = self.codec.target
        if callable(target):
            return target
        module, _, name = target.partition(":")
        try:
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            raise LoadError(f"Codec {self.codec.name!r} could not be loaded: {reason}") from error

    @functools.cached_property
    def _codec_parameters(self) -> dict[str, params.Param]:
        return params.parameters(self._encode, skip=1)


def mu(codec: str, text: str, sigma: float) -> float:
    """Return lam / (H W) of a codec, by its canonical text, at a noise level.

    log mu is linear in log sigma between two calibrated levels, and extrapolated beyond the first and the last. Sigma
    is at least the rounding error of 8-bit pictures.

    Raises:
        ParamError: the codec was not calibrated with these parameters.
    """
    rows: dict[float, float] = {float(s): m for s, m in table()["mu"].get(text, {}).items()}
    if not rows:
        raise ParamError(
            f"cifs-{codec} has no calibrated lam for {text!r}: give a number as lam=..., or find one with "
            f"'esbench calibrate -c cifs-{text}'."
        )
    levels = sorted(rows)
    if len(levels) == 1:
        return rows[levels[0]]
    sigma = max(sigma, ROUNDING)
    below, above = next((pair for pair in pairwise(levels) if sigma <= pair[1]), levels[-2:])
    share = math.log(sigma / below) / math.log(above / below)
    return math.exp((1 - share) * math.log(rows[below]) + share * math.log(rows[above]))


@functools.cache
def table() -> dict[str, Any]:
    """Return the calibrated table: its origin, and mu by codec and noise level."""
    text = resources.files("esbench.builtin.criteria").joinpath("calibration/cifs.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]
