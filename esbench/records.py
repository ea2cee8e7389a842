"""The records that hooks return to describe components. Cheap to make: nothing is imported for them."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from esbench.pictures import Bytes

if TYPE_CHECKING:
    pass

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


Need: TypeAlias = Literal["loss", "noisy", "sigma", "network", "holdout", "observation"]


@dataclass(frozen=True, kw_only=True)
class Info:
    """The fields that describe every component.

    Attributes:
        name: the name that the user types: a-z, 0-9 and '-'.
        summary: one line for the lists.
        target: the component itself, or "package.module:thing", imported on first use.
        version: raised when the component's numbers change; recorded with every value.
        reference: the paper, equation or address that it follows.
        requires: importable names; if one is missing, the component is listed as unavailable, with the reason.
        install: the argument for pip that installs them; empty for the missing name itself.
    """

    name: str
    summary: str
    target: str | Callable[..., Any]
    version: int = 1
    reference: str = ""
    requires: tuple[str, ...] = ()
    install: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError(f"a name consists of a-z, 0-9 and '-' and starts with a letter, got {self.name!r}")
        if not isinstance(self.summary, str) or not self.summary or "\n" in self.summary:
            raise ValueError(f"the summary of {self.name!r} must be one line of text, got {self.summary!r}")
        if not callable(self.target) and not (isinstance(self.target, str) and self.target.count(":") == 1):
            raise ValueError(
                f"the target of {self.name!r} must be 'package.module:thing' or a callable, got {self.target!r}"
            )
        if type(self.version) is not int or self.version < 0:
            raise ValueError(f"the version of {self.name!r} must be a whole number from 0, got {self.version!r}")
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
        needs: its requirements, of loss, noisy, sigma, network, holdout, observation; the last is a network whose input
            is the observation itself.
        every: the default of the parameter `every` of each criterion: it is measured on steps 0, every, 2 every, ...
        measures: the default of the parameter `on` of each criterion: the output itself or its running average.
        batch: optional, for a function: the same for a block of frames, `(frames, *, param=default) -> one result per
            frame`.
        resolve: optional `(problem, **params) -> params`, called once before the first step, for parameters that depend
            on the problem (`lam=auto`); the result is recorded next to the parameters as given.
        probe: optional `(step) -> numbers by name`, measured on the network itself before the update of each step that
            the criterion is measured at, and passed to it as `frame.probes`.
        recompute: optional `(columns, *, param=default) -> values`, its values at all steps from the recorded columns:
            the parts of its values, `loss` and `pixels`, by name. The parameters in `free` can then be changed later.
        free: the parameters that `recompute` accepts other values of.
        unavailable: optional function that returns why it cannot be used on this machine, or an empty string.
        codec: the codec that it uses, if any.
    """

    needs: tuple[Need, ...] = ()
    every: int = 1
    measures: Literal["output", "average"] = "output"
    batch: str | Callable[..., Any] | None = None
    resolve: str | Callable[..., Any] | None = None
    probe: str | Callable[..., Any] | None = None
    recompute: str | Callable[..., Any] | None = None
    free: tuple[str, ...] = ()
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

    If only the size is known, the target may return it as an int. Each codec gives a criterion `cifs-<name>`.

    Attributes:
        lossless: whether decoding gives exactly the image.
    """

    lossless: bool = False


class Dataset(Protocol):
    """Pictures by name: the return type of the target of a `DatasetInfo`."""

    def ids(self) -> Sequence[str]:
        """Return the names of the pictures, in the order in which they are used."""

    def load(self, id: str) -> Bytes:
        """Return one picture as uint8 (H, W, 3) RGB or (H, W, 1) grey."""


@runtime_checkable
class Accompanied(Protocol):
    """A dataset with further arrays per picture, such as masks for inpainting or pictures with flash."""

    def companions(self, id: str) -> Mapping[str, Bytes]:
        """Return the arrays of one picture, each of its size.

        `mask`: (H, W, 1), above half where pixels are missing; `guide`: the guide picture.
        """


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(Info):
    """A dataset; the target takes no argument and returns a `Dataset`.

    Attributes:
        images: the number of pictures, if known.
        megabytes: its size on disk.
        licence: its terms of use.
    """

    images: int | None = None
    megabytes: float | None = None
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class DegradationInfo(Info):
    """A degradation: `(clean, rng, *, param=default) -> degraded`, both float32 (H, W, C) in [0, 1].

    Attributes:
        parameter: the parameter that a benchmark sweeps, e.g. "sigma"; empty without one.
        blind: whether the noise level is withheld from the criteria.
    """

    parameter: str = ""
    blind: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskInfo(Info):
    """A task: the target is a class `(*, param=default)` that is a `kinds.Task`.

    Attributes:
        noise: the degradation that the benchmark adds by default.
        noisy: whether the observation of a user has noise, so that its level is estimated.
        criterion: the criterion of a restoration, unless one that is clearly better was measured.
        network: the default network; None for that of the command.
        loss: the default loss.
        input: the default input; None for the network's.
        learning_rate: the default learning rate; None for the network's.
        perturbation: the default perturbation; None for the network's.
    """

    noise: str = "none"
    noisy: bool = False
    criterion: str = "wmv"
    network: str | None = None
    loss: str = "mse"
    input: str | None = None
    learning_rate: float | None = None
    perturbation: float | None = None


@dataclass(frozen=True, kw_only=True)
class LossInfo(Info):
    """A loss: the target is `(step, *, param=default) -> Terms`, a `kinds.Loss`.

    Its defaults override those of the task and the network; the user's settings override all of them.

    Attributes:
        needs: its requirements: "observation", a network whose input is the observation itself, which must be the
            picture plus noise; "masked", likewise with the input "masked", and values must be missing; "sigma", the
            level of Gaussian noise, or "gain", that of shot noise, both estimated if not given.
        captured: whether its step can be captured as a CUDA graph: it draws no random numbers and needs no second
            derivatives.
        network: the default network; None for the task's.
        input: the default input; None for the task's or network's.
        learning_rate: the default learning rate; None for the task's or network's.
        perturbation: the default perturbation; None for the task's or network's.
    """

    needs: tuple[Literal["observation", "masked", "sigma", "gain"], ...] = ()
    captured: bool = False
    network: str | None = None
    input: str | None = None
    learning_rate: float | None = None
    perturbation: float | None = None


@dataclass(frozen=True, kw_only=True)
class RegulariserInfo(Info):
    """A regulariser: the target is `(step, *, param=default) -> tensor`, a `kinds.Regulariser`.

    Attributes:
        captured: as for a loss.
    """

    captured: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkInfo(Info):
    """A network: `(inputs, outputs, *, param=default) -> Network`, given the channels of z and of the picture.

    Its defaults are those of its authors.

    Attributes:
        learning_rate: the learning rate of Adam.
        perturbation: standard deviation of the fresh Gaussian noise that is added to z at each step.
        input: the input: "noise", "meshgrid", "observation", "masked" or "guide".
        depth: channels of a noise z; a string names the parameter of the network that sets it, e.g. "channels".
    """

    learning_rate: float = 0.01
    perturbation: float = 1 / 30
    input: str = "noise"
    depth: int | str = 32


@dataclass(frozen=True, kw_only=True)
class InputInfo(Info):
    """An input: the target is a class `(*, param=default)` that is a `kinds.Input`."""


@dataclass(frozen=True, kw_only=True)
class BaselineInfo(Info):
    """A baseline: the target is `(y, generator, *, param=default) -> x`, a `kinds.Baseline`.

    Attributes:
        licence: the licence of the package that it needs, if that restricts its use.
    """

    licence: str = ""


@dataclass(frozen=True)
class Range:
    """The range of a parameter: `quality: Annotated[int, Range(0, 100)] = 95`; for a list, that of every item."""

    low: float | None = None
    high: float | None = None


def _importable(name: str) -> bool:
    """Return whether a module is available, without importing it; its parent packages are imported."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except Exception:  # no such package, a package that fails, or an invalid module name
        return False
