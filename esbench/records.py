"""The records that hooks return: what a component says of itself. Cheap to make; nothing is imported for one."""

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
    """What every component tells of itself; cheap to make, nothing is imported for it.

    Attributes:
        name: what the user types: a-z, 0-9 and '-'.
        summary: one line for the lists.
        target: the component itself, or "package.module:thing", imported when it is first used.
        version: raised when the component's numbers change; recorded with every value.
        reference: the paper, equation or address that it follows.
        requires: importable names; where one is absent the component is listed as unavailable, with the reason.
        install: what pip is to be given for them; empty for the name that is absent.
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
        needs: what it cannot do without: of loss, noisy, sigma, network, holdout, observation; the last is a network
            that is given the observation itself.
        every: the default of the parameter `every` that each criterion has: measured on steps 0, every, 2 every, ...
        measures: the default of the parameter `on` that each criterion has: the output itself or its running average.
        batch: for a function, optionally the same over a whole block: `(frames, *, param=default) -> one result a
            frame`.
        resolve: optionally `(problem, **params) -> params`, called once before the first step, for parameters that are
            decided by the problem (`lam=auto`); what it returns is recorded beside the parameters as given.
        probe: optionally `(step) -> numbers by name`, what it needs of the network itself: computed before the update
            of each step that it is measured at, and handed to it as `frame.probes`.
        recompute: optionally `(columns, *, param=default) -> values`, its values at all steps from what was recorded:
            the parts of its values, `loss` and `pixels` by name. The parameters in `free` may then be changed later.
        free: the parameters that `recompute` takes other values of.
        unavailable: optionally a function that returns why it cannot be used on this machine, or an empty string.
        codec: the codec that it is made of, if any.
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


@runtime_checkable
class Accompanied(Protocol):
    """A dataset that has more than the pictures: the masks of those that are to be inpainted, flash pictures."""

    def companions(self, id: str) -> Mapping[str, Bytes]:
        """Return what belongs to one picture, each of its size.

        `mask`: (H, W, 1), above half where pixels are missing; `guide`: the picture that guides.
        """


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(Info):
    """A dataset; the target takes nothing and gives a `Dataset`.

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


@dataclass(frozen=True, kw_only=True)
class TaskInfo(Info):
    """A task: the target is a class `(*, param=default)` that is a `kinds.Task`.

    Attributes:
        noise: the degradation that the benchmark adds by default.
        criterion: what a restoration stops by while nothing was measured of the task.
        network: the network by default; None for the default of the command.
        loss: what is minimised by default.
        input: what the network is given by default; None for the network's own.
        learning_rate: by default; None for the network's own.
        perturbation: by default; None for the network's own.
    """

    noise: str = "none"
    criterion: str = "wmv"
    network: str | None = None
    loss: str = "mse"
    input: str | None = None
    learning_rate: float | None = None
    perturbation: float | None = None


@dataclass(frozen=True, kw_only=True)
class LossInfo(Info):
    """A loss: the target is `(step, *, param=default) -> Terms`, a `kinds.Loss`.

    The settings are what it is meant for: they go before those of the task and the network, and after the user's.

    Attributes:
        needs: what it cannot do without: "observation", a network that is given the observation itself, which is the
            picture and noise alone; "sigma", the level of Gaussian noise, or "gain", that of shot noise, both estimated
            if they are not told.
        captured: whether its step may be captured as a graph on a GPU: it draws nothing and needs no second order.
        network: the network by default; None for the task's own.
        input: what the network is given by default; None for the task's or network's own.
        learning_rate: by default; None for the task's or network's own.
        perturbation: by default; None for the task's or network's own.
    """

    needs: tuple[Literal["observation", "sigma", "gain"], ...] = ()
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
    """A network: `(inputs, outputs, *, param=default) -> Network`, channels of z and of the picture.

    The settings are those of its authors, used unless the user says otherwise.

    Attributes:
        learning_rate: of Adam.
        perturbation: standard deviation of the fresh Gaussian noise that is added to z at each step.
        input: what z is: "noise", "meshgrid", "observation" or "guide".
        depth: channels of a z of noise; a text names the network's parameter that says it, e.g. "channels".
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
        licence: of the package that it needs, if that restricts its use.
    """

    licence: str = ""


@dataclass(frozen=True)
class Range:
    """The range of a parameter: `quality: Annotated[int, Range(0, 100)] = 95`; for a list, that of every item."""

    low: float | None = None
    high: float | None = None


def _importable(name: str) -> bool:
    """Whether a module is there, without importing it; the packages that it is in are imported."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except Exception:  # no such package, or one that fails, or a text that is no module's name
        return False
