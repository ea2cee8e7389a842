"""What plugins meet: the records that they return, what a criterion sees, what is announced.

No torch and no cv2 is imported before somebody looks at a picture.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, get_args

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from esbench.noise import Noise

    Kind = TypeVar("Kind", bound=np.generic)
    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Floats: TypeAlias = npt.NDArray[np.float32]
    Bools: TypeAlias = npt.NDArray[np.bool_]
else:
    Bytes = Floats = Bools = Any  # so that they can be named without importing numpy

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

Need: TypeAlias = Literal["loss", "noisy", "sigma", "network", "holdout"]


# -- records: what the hooks return ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Info:
    """What every component tells of itself; cheap to make, nothing is imported for it.

    Attributes:
        name: what the user types: a-z, 0-9 and '-'.
        summary: one line for the lists.
        target: the component itself, or "package.module:thing", imported when it is first used.
        version: raised when the component's numbers change; recorded with every value.
        reference: the paper, equation or address that it follows.
        requires: importable names; where one is absent the component is listed as unavailable, with the reason.
    """

    name: str
    summary: str
    target: str | Callable[..., Any]
    version: int = 1
    reference: str = ""
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError(f"a name is made of a-z, 0-9 and '-', and begins with a letter, got {self.name!r}")
        if not isinstance(self.summary, str) or not self.summary or "\n" in self.summary:
            raise ValueError(f"the summary of {self.name!r} must be one line of text, got {self.summary!r}")
        if not callable(self.target) and not (isinstance(self.target, str) and self.target.count(":") == 1):
            raise ValueError(
                f"the target of {self.name!r} must be 'package.module:thing' or a callable, got {self.target!r}"
            )
        if isinstance(self.requires, str):
            raise ValueError(f"requires of {self.name!r} must be a tuple of names, got the text {self.requires!r}")

    def lacking(self) -> str:
        """Return the first required name that cannot be imported here, or an empty string."""
        return next((name for name in self.requires if not _importable(name)), "")


@dataclass(frozen=True, kw_only=True)
class CriterionInfo(Info):
    """A criterion: an iterate to a number, lower is better.

    The target is a function `(frame, *, param=default) -> float | None | Value` or, for a criterion with memory, a
    class whose `__init__` takes the parameters, with `update(frame)` giving the same, `state_dict()` and
    `load_state_dict(state)`.

    Attributes:
        needs: what it cannot do without: of loss, noisy, sigma, network, holdout.
        every: the default of the parameter `every` that each criterion has: measured on steps 0, every, 2 every, ...
        measures: the default of the parameter `on` that each criterion has: the output itself or its running average.
        batch: for a function, optionally the same over a whole block: `(frames, *, param=default) -> one result a
            frame`.
        resolve: optionally `(problem, **params) -> params`, called once before the first step, for parameters that are
            decided by the problem (`lam=auto`); what it returns is recorded beside the parameters as given.
        unavailable: optionally a function that returns why it cannot be used on this machine, or an empty string.
        codec: the codec that it is made of, if any.
    """

    needs: tuple[Need, ...] = ()
    every: int = 1
    measures: Literal["output", "average"] = "output"
    batch: str | Callable[..., Any] | None = None
    resolve: str | Callable[..., Any] | None = None
    unavailable: str | Callable[[], str] | None = None
    codec: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = get_args(Need)
        if isinstance(self.needs, str) or not set(self.needs) <= set(known):
            raise ValueError(f"needs of {self.name!r} must be of {', '.join(known)}, got {self.needs!r}")
        if not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"every of {self.name!r} must be a whole number from 1, got {self.every!r}")
        if self.measures not in ("output", "average"):
            raise ValueError(f"measures of {self.name!r} must be 'output' or 'average', got {self.measures!r}")


@dataclass(frozen=True, kw_only=True)
class CodecInfo(Info):
    """A codec: `(image, *, param=default) -> bytes`, the image uint8 (H, W, 3) RGB or (H, W, 1) grey.

    Where only the size is known the target may return it as an int. Each codec gives a criterion `cifs-<name>`.

    Attributes:
        lossless: True when decoding gives the image back.
    """

    lossless: bool = False


class Dataset(Protocol):
    """What the target of a DatasetInfo gives: pictures by name."""

    def ids(self) -> Sequence[str]:
        """Return the names of the pictures, in the order in which they are used."""

    def load(self, id: str) -> Bytes:
        """Return one picture as uint8 (H, W, 3) RGB or (H, W, 1) grey."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(Info):
    """A data set; the target takes nothing and gives a `Dataset`.

    Attributes:
        images: how many pictures it has, if known.
        megabytes: what it takes on the disk.
        licence: under what terms it may be used.
    """

    images: int | None = None
    megabytes: float | None = None
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class DegradationInfo(Info):
    """A degradation: `(clean, rng, *, param=default) -> degraded`, both float32 (H, W, C) in [0, 1].

    Attributes:
        parameter: the parameter that a benchmark sweeps, e.g. "sigma"; empty where there is none.
        blind: True when no noise level is told to the criteria.
    """

    parameter: str = ""
    blind: bool = False


# -- pictures: what a criterion sees -----------------------------------------------------------------------------------


class Pictures:
    """Pictures of one size in three views, each made once, when somebody asks for it.

    Args:
        source: (B, C, H, W) float tensor, or (B, H, W, C) uint8 or float array; floats are in [0, 1].
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._is_tensor = hasattr(source, "detach")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Picture:
        return Picture(self, range(len(self))[index])

    @cached_property
    def tensor(self) -> torch.Tensor:
        """(B, C, H, W), as the network gave it, on its device."""
        import torch

        if self._is_tensor:
            return self._source.detach()  # type: ignore[no-any-return]
        array = self._source
        if array.dtype.kind == "u":
            array = array.astype("float32") / 255
        elif not array.flags.writeable:  # torch has no read-only tensors
            array = array.copy()
        return torch.from_numpy(array).movedim(-1, 1).contiguous()

    @cached_property
    def float(self) -> Floats:
        """(B, H, W, C) float32 in [0, 1]; read-only."""
        import numpy as np

        if self._is_tensor:
            array = self.tensor.float().movedim(1, -1).cpu().numpy().clip(0, 1)
        elif self._source.dtype.kind == "u":
            array = self._source.astype(np.float32) / 255
        else:
            array = self._source.astype(np.float32).clip(0, 1)
        return _frozen(array)

    @cached_property
    def uint8(self) -> Bytes:
        """(B, H, W, C) uint8, clipped and rounded half to even; read-only."""
        import numpy as np

        if self._is_tensor:
            import torch

            # rounded on the device: a quarter of the bytes to copy
            eight = (self.tensor.float().clamp(0, 1) * 255).round().to(torch.uint8)
            return _frozen(eight.movedim(1, -1).contiguous().cpu().numpy())
        if self._source.dtype.kind == "u":
            return _frozen(self._source.view())
        return _frozen(np.rint(self.float * np.float32(255)).astype(np.uint8))

    @cached_property
    def finite(self) -> Sequence[bool]:
        """For each picture, whether it has no NaN and no infinite value."""
        # a sum is not finite if one of its terms is not, and takes a tenth of the time of looking at each
        if self._is_tensor:
            return self.tensor.flatten(1).sum(1).isfinite().tolist()
        import numpy as np

        with np.errstate(invalid="ignore"):
            return np.isfinite(self._source.sum((1, 2, 3))).tolist()  # type: ignore[no-any-return]


class Lent(Pictures):
    """Pictures for a stranger: the read-only views are shared, the tensor is a copy.

    Args:
        own: the pictures that others see too.
    """

    def __init__(self, own: Pictures) -> None:
        super().__init__(own._source)
        self._own = own

    @cached_property
    def tensor(self) -> torch.Tensor:
        """(B, C, H, W), a copy."""
        return self._own.tensor.clone()

    @property
    def float(self) -> Floats:
        """(B, H, W, C) float32 in [0, 1]; read-only."""
        return self._own.float

    @property
    def uint8(self) -> Bytes:
        """(B, H, W, C) uint8, clipped and rounded half to even; read-only."""
        return self._own.uint8

    @property
    def finite(self) -> Sequence[bool]:
        """For each picture, whether it has no NaN and no infinite value."""
        return self._own.finite


class Picture:
    """One picture in three views."""

    def __init__(self, pictures: Pictures, index: int = 0) -> None:
        self._pictures, self._index = pictures, index

    @property
    def tensor(self) -> torch.Tensor:
        """(C, H, W), as the network gave it, on its device; do not write to it."""
        return self._pictures.tensor[self._index]

    @property
    def float(self) -> Floats:
        """(H, W, C) float32 in [0, 1]; read-only."""
        picture: Floats = self._pictures.float[self._index]
        return picture

    @property
    def uint8(self) -> Bytes:
        """(H, W, C) uint8, clipped and rounded half to even; read-only."""
        picture: Bytes = self._pictures.uint8[self._index]
        return picture

    @property
    def finite(self) -> bool:
        """Whether it has no NaN and no infinite value."""
        return self._pictures.finite[self._index]

    def lent(self) -> Picture:
        """Return the same picture for a stranger, who may write to its tensor and spoils nothing for others."""
        return Lent(self._pictures)[self._index]

    def copy(self) -> Floats:
        """Return (H, W, C) float32 in [0, 1] that is all its own: no view that keeps its whole block."""
        if self._pictures._is_tensor:
            own: Floats = Pictures(self.tensor[None]).float[0]
            return own
        return self.float.copy()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        source = self._pictures._source
        return tuple(source.shape[2:]) if self._pictures._is_tensor else tuple(source.shape[1:3])


class Frame(Picture):
    """What a criterion sees of one step. The clean image is not part of it.

    Attributes:
        step: the step, from 0.
        loss: the loss of this output, or None outside an optimisation.
        problem: the noisy picture and what is known of it.
        average: the exponentially averaged output, itself a Frame; None where there is none.
    """

    def __init__(
        self,
        pictures: Pictures,
        index: int = 0,
        *,
        step: int = 0,
        loss: float | None = None,
        problem: Problem | None = None,
        average: Frame | None = None,
    ) -> None:
        super().__init__(pictures, index)
        self.step, self.loss, self.average = step, loss, average
        self.problem = Problem() if problem is None else problem


@dataclass(frozen=True)
class Problem:
    """What is known of the problem by whoever has to solve it.

    Attributes:
        noisy: the observation; None where a picture is measured by itself.
        sigma: the noise level on the 0-255 scale, where it is known.
        task: the name of the task.
        holdout: (H, W), True where a pixel is kept out of the loss; None where none is.
    """

    noisy: Picture | None = None
    sigma: float | None = None
    task: str = "denoise"
    holdout: Bools | None = field(default=None, compare=False)

    @cached_property
    def noise(self) -> Noise | None:
        """The noise as the noisy picture alone shows it, estimated once; None where there is no picture."""
        if self.noisy is None:
            return None
        from esbench.noise import estimate

        return estimate(self.noisy.float)

    @property
    def noise_level(self) -> float | None:
        """`sigma` where it is known, else an estimate from the noisy picture, else None."""
        if self.sigma is not None or self.noise is None:
            return self.sigma
        return self.noise.sigma


@dataclass(frozen=True)
class Block:
    """Consecutive steps of one optimisation; the pictures stay on the device until somebody looks.

    Attributes:
        first: the step of the first frame.
        losses: one loss a step.
        average_losses: the losses of the averaged outputs.
        outputs: one output a step, each from before its step's update.
        averages: the exponentially averaged outputs.
        restored: the steps of this block after which the optimisation went back to an earlier state.
    """

    first: int
    losses: Sequence[float]
    average_losses: Sequence[float]
    outputs: Pictures
    averages: Pictures
    restored: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.losses)

    def lent(self) -> Block:
        """Return the same block for a stranger, who may write to its tensors and spoils nothing for others."""
        return replace(self, outputs=Lent(self.outputs), averages=Lent(self.averages))

    def frames(self, problem: Problem) -> Iterator[Frame]:
        """Give the frames in order, each with its averaged frame."""
        for i, (loss, average_loss) in enumerate(zip(self.losses, self.average_losses, strict=True)):
            average = Frame(self.averages, i, step=self.first + i, loss=average_loss, problem=problem)
            yield Frame(self.outputs, i, step=self.first + i, loss=loss, problem=problem, average=average)


@dataclass(frozen=True)
class Value:
    """What a criterion made of a frame, when a plain float does not say it all.

    Attributes:
        value: the number, lower is better; None where there is none.
        parts: what the number was made of, recorded beside it (`bytes` for CIFS).
        reason: why there is no number.
    """

    value: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Range:
    """The range of a parameter: `quality: Annotated[int, Range(0, 100)] = 95`."""

    low: float | None = None
    high: float | None = None


# -- units: what crosses a process boundary ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class UnitSpec:
    """One optimisation, in plain values: all that its trajectory depends on, and nothing else.

    `pixels` is the SHA-256 of the clean pixels after cropping, `device` the kind of device, `engine` a number that is
    raised by hand when the loop's numbers change.
    """

    dataset: str
    image: str
    pixels: str
    crop: int | None
    task: str
    noise: str
    sigma: float | None
    network: str
    seed: int
    iterations: int
    input_scale: float
    learning_rate: float
    perturbation: float
    depth: int
    precision: str
    device: str
    engine: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one unit."""

    unit: str
    status: Literal["done", "failed", "paused"]
    seconds: float
    reason: str = ""


# -- events: what is announced -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened in a run; each kind is a class of its own."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run begins: its folder, how many units it asks for and how many of them are done already."""

    folder: str
    units: int
    done: int
    iterations: int


@dataclass(frozen=True, kw_only=True)
class UnitStarted(Event):
    """A unit begins, or goes on at a step that an earlier command came to."""

    unit: str
    iterations: int
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """A unit has come to a step: the PSNR of its output and the best step of each criterion so far."""

    unit: str
    step: int
    iterations: int
    psnr_db: float
    best: Mapping[str, int]
    stopped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A sentence that the user should see: a parameter decided, an optimisation set back. No `unit`: the run."""

    text: str
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class UnitFinished(Event):
    """A unit is done and on the disk."""

    unit: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class UnitFailed(Event):
    """A unit failed; the others go on."""

    unit: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class UnitPaused(Event):
    """A unit was left at a step, because the budget is spent or somebody asked; the same command goes on there."""

    unit: str
    step: int


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """A run ends: how many of its units are done, how many failed, and how many are left for the same command."""

    folder: str
    done: int
    failed: int
    left: int = 0


def _importable(name: str) -> bool:
    """Whether a module is there, without importing it; the packages that it is in are imported."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except Exception:  # no such package, or one that fails, or a text that is no module's name
        return False


def _frozen(array: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
    array.flags.writeable = False
    return array
