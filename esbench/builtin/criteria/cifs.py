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
from esbench.pictures import Bytes, is_grey
from esbench.records import CodecInfo, Range

#: The standard deviation of rounding to whole numbers.
ROUNDING = 1 / math.sqrt(12)

#: Texture changes mu by no more than this factor, as on nearly all pictures of BSD400; TINY is that of a flat one.
FAR, TINY = 2.0, 1e-9


class Cifs:
    """E = lam * loss + R(L) with R(L) = L^2 / (H W), where L is the file size of the output in bytes: Eq. (2) and (3).

    A number given as `lam` is taken literally, in bytes^2 per unit of the loss (mean squared error in [0, 1]). R grows
    with the number of pixels while the loss does not, so a calibration finds mu = lam / (H W), and `auto` is
    lam = mu * H * W, with a mu for the noise level and for the texture, which the size of the noisy picture tells.

    Args:
        codec: measures the size; its parameters become parameters of the criterion.
    """

    def __init__(self, codec: CodecInfo) -> None:
        self.codec = codec

    def __call__(self, frame: Frame, *, lam: float | str, **options: Any) -> Value:
        """Return E of one output, with L as its part `bytes`."""
        size = self._size(frame.uint8, **options)
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
            grey = is_grey(problem.noisy.uint8)
            text, texture = self.codec_text(options), self.texture(problem, **options)
            lam = mu(self.codec.name, text, sigma, texture, grey=grey) * math.prod(problem.noisy.size)
        return {"lam": lam, **options}

    def texture(self, problem: Problem, **options: Any) -> float | None:
        """Return the bytes per pixel that texture takes; None if mu does not depend on them.

        They are those of the noisy picture without most of its noise, more than of a flat picture.
        """
        known = self.codec_text(options) in table()["texture"]
        if not known or problem.noisy is None or problem.known is not None:  # missing pixels are no texture
            return None
        image = problem.noisy.uint8
        size = self._size(smoothed(image), **options) - self._size(0 * image, **options)
        return size / math.prod(problem.noisy.size)

    def recompute(self, columns: Mapping[str, Any], *, lam: float, **options: Any) -> Any:
        """Return E of every step from sizes and losses, with the operations of `__call__` in the same order."""
        r = columns["bytes"] ** 2 / columns["pixels"]
        return r if lam == 0 else lam * columns["loss"] + r

    def _size(self, image: Bytes, **options: Any) -> int:
        """Return the number of bytes of an encoded image (H, W, C)."""
        encoded = self._encode(image, **options)
        if not isinstance(encoded, bytes | bytearray | memoryview | SupportsIndex):
            raise TypeError(f"the codec must return bytes or their number, got a {type(encoded).__name__}")
        size = int(encoded) if isinstance(encoded, SupportsIndex) else memoryview(encoded).nbytes
        if size < 0:
            raise ValueError(f"the codec must return bytes or their number, got {size}")
        return size

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


def smoothed(image: Bytes) -> Bytes:
    """Return an image (H, W, C) without most of its noise: the median of 5 x 5 pixels."""
    cv2 = importlib.import_module("cv2")  # listing criteria does not import it
    found: Bytes = cv2.medianBlur(image, 5).reshape(image.shape)
    return found


def mu(codec: str, text: str, sigma: float, texture: float | None = None, *, grey: bool = False) -> float:
    """Return lam / (H W) of a codec at a noise level.

    A picture with much texture needs a smaller one. So does a grey picture: it has fewer bytes.

    Args:
        codec: the name of the codec.
        text: its canonical text.
        sigma: the noise level.
        texture: the bytes per pixel that texture takes; None for the ordinary ones.
        grey: whether the picture is grey.

    Raises:
        ParamError: the codec was not calibrated with these parameters.
    """
    rows, ordinary = table()["mu"].get(text), table()["texture"].get(text)
    if not rows:
        raise ParamError(
            f"cifs-{codec} has no calibrated lam for {text!r}: give a number as lam=..., or find one with "
            f"'esbench calibrate -c cifs-{text}'."
        )
    of_grey = table()["grey"].get(text) if grey else None
    found = at(rows, sigma) * (of_grey["mu"] if of_grey else 1.0)
    if ordinary is None or texture is None:
        return found
    share = of_grey["texture"] if of_grey else 1.0
    times: float = (at(ordinary, sigma) * share / max(texture, TINY)) ** table()["power"]
    return found * min(max(times, 1 / FAR), FAR)


def at(rows: Mapping[str, float], sigma: float) -> float:
    """Return the value of a table at a noise level, which is at least the rounding error of 8-bit pictures.

    Its logarithm is linear in that of sigma between two levels, and extrapolated beyond the first and the last.
    """
    values = {float(level): value for level, value in rows.items()}
    levels = sorted(values)
    if len(levels) == 1:
        return values[levels[0]]
    sigma = max(sigma, ROUNDING)
    below, above = next((pair for pair in pairwise(levels) if sigma <= pair[1]), levels[-2:])
    share = math.log(sigma / below) / math.log(above / below)
    return math.exp((1 - share) * math.log(values[below]) + share * math.log(values[above]))


@functools.cache
def table() -> dict[str, Any]:
    """Return the calibrated table: its origin, mu by codec and noise level, and what texture and colour change."""
    text = resources.files("esbench.builtin.criteria").joinpath("calibration/cifs.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]
