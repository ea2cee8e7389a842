"""The configuration of a run: one record, the same names as flags, TOML keys and keyword arguments."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from esbench import disk
from esbench.device import THREADS
from esbench.engine.settings import LOWEST, Settings
from esbench.errors import ConfigError, DataError, Missing, did_you_mean
from esbench.images import MAX_PIXELS
from esbench.records import DegradationInfo, TaskInfo
from esbench.registry import own_network, registry

PRESETS = (
    *("paper", "quick", "dip-denoise", "dip-superres4", "dip-superres8", "dip-inpaint-text", "dip-inpaint-region"),
    *("dip-inpaint-half", "dip-flash", "dip-jpeg"),
)

#: What may be extended (GROWS) or may differ (FREE) between commands on the same folder; the rest defines the run.
GROWS = ("criterion", "baseline", "image", "images", "sigma", "seed")
FREE = (
    *(*GROWS, "max_pixels", "live", "executor", "threads", "time_limit", "checkpoint_every", "budget", "shard"),
    "retry_failed",
)

#: Settings of one command, not stored in the folder.
ONCE = ("budget", "shard", "retry_failed")

#: The settings that can be written as `auto`, which is None.
AUTO = ("loss", "input", "learning_rate", "depth", "perturbation")

#: Keys that every version has written to run.toml: what units depend on and what is never None.
ALWAYS = (
    *("criterion", "dataset", "noise", "sigma", "task", "network", "input_scale", "iterations", "patience", "seed"),
    *("device", "precision", "executor", "live"),
)

#: Seconds in the units of a length of time.
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a run.

    Attributes:
        criterion: the criteria, measured on every unit.
        baseline: denoisers that need no stopping, run on the observation of every unit.
        dataset: a name, or a folder or file.
        images: how many pictures, the first by name; None for all.
        image: or these, by name; empty for all.
        max_pixels: a larger picture of a folder or file is refused.
        crop: side of the centre crop; None for the whole picture.
        noise: the degradation.
        sigma: its levels on the 0-255 scale, if it has one.
        task: the task.
        loss: the loss to minimise; None for the task's default.
        regulariser: a term added to the loss; None for none.
        network: the network.
        input: the input of the network; None for the default of the loss, task or network.
        input_scale: z is uniform in [0, input_scale].
        learning_rate: the learning rate of Adam; None for the default of the loss, task or network.
        depth: channels of the network's input; None for the network's default.
        perturbation: standard deviation of the noise added to the input at each step; None for the default of the
            loss, task or network.
        iterations: T, steps of each optimisation.
        patience: S, steps without a lower value after which a stop is certain.
        seed: one optimisation per seed.
        device: auto, cpu, cuda or cuda:N.
        threads: the threads of each unit on a CPU; None for one per core, or a share of them if several run at once.
        precision: auto, float32 or bfloat16.
        executor: the executor that runs the units.
        live: end a unit as soon as all its criteria have stopped.
        time_limit: seconds that a call of a plugin's criterion may take before it is disabled.
        checkpoint_every: seconds between two checkpoints of a unit.
        budget: the time after which to stop cleanly, as in 9m or 1h30m; None for no limit.
        shard: i/n, the i-th of n parts of the units; None for all.
        retry_failed: retry what failed.
    """

    criterion: tuple[str, ...] = ("cifs-jpeg", "wmv")
    baseline: tuple[str, ...] = ()
    dataset: str = "samples"
    images: int | None = None
    image: tuple[str, ...] = ()
    max_pixels: int = MAX_PIXELS
    crop: int | None = None
    noise: str = "gaussian"
    sigma: tuple[float, ...] = (25.0,)
    task: str = "denoise"
    loss: str | None = None
    regulariser: str | None = None
    network: str = "skip"
    input: str | None = None
    input_scale: float = Settings.input_scale
    learning_rate: float | None = None
    depth: int | None = None
    perturbation: float | None = None
    iterations: int = 20_000
    patience: int = 1000
    seed: tuple[int, ...] = (0,)
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    executor: str = "auto"
    live: bool = False
    time_limit: float = 120.0
    checkpoint_every: float = 60.0
    budget: str | None = None
    shard: str | None = None
    retry_failed: bool = False

    def __post_init__(self) -> None:
        own = {"images": 1, "crop": 1, "threads": 1, "patience": 0, "max_pixels": 1, "time_limit": 0.1}
        own |= {"checkpoint_every": 0}
        for name, low in (own | LOWEST).items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise ConfigError(f"{name.replace('_', '-')} must be at least {low}, got {value}.")
        if self.threads is not None and self.threads > THREADS:
            raise ConfigError(f"threads must be at most {THREADS}, got {self.threads}.")
        for level in self.sigma:
            if not math.isfinite(level):
                raise ConfigError(f"sigma must be a number, got {level}.")
        for name in ("criterion", "sigma", "seed"):
            if not getattr(self, name):
                raise ConfigError(f"{name} needs at least one value, got none.")
        if self.images is not None and self.image:
            raise ConfigError("Give either images (how many) or image (which), not both.")
        _ = self.seconds, self.part  # so that errors in them are raised now

    @property
    def seconds(self) -> float | None:
        """The budget in seconds, or None.

        Raises:
            ConfigError: it is not a duration.
        """
        if self.budget is None:
            return None
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", self.budget)
        if not parts or "".join(a + b for a, b in parts) != self.budget.replace(" ", ""):
            raise ConfigError(f"budget must be a duration such as 90s, 9m or 1h30m, got {self.budget!r}.")
        return sum(float(number) * SECONDS[unit] for number, unit in parts)

    @property
    def part(self) -> tuple[int, int]:
        """The shard as its number, from 1, and how many there are.

        Raises:
            ConfigError: it is not i/n with i from 1 to n.
        """
        if self.shard is None:
            return 1, 1
        match = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        i, n = map(int, match.groups()) if match else (0, 0)
        if not 1 <= i <= n:
            raise ConfigError(f"shard must be i/n with i from 1 to n, as in 2/8, got {self.shard!r}.")
        return i, n

    def grown(self, old: Config) -> Config:
        """Return the union with an earlier configuration of the same run.

        Raises:
            ConfigError: something differs that makes it another run.
        """
        for field in dataclasses.fields(self):
            was, now = getattr(old, field.name), getattr(self, field.name)
            if field.name not in FREE and was != now:
                raise ConfigError(
                    f"This run has {field.name} = {_toml(was)}, the command {_toml(now)}: choose another --out, or "
                    f"keep the setting. Only {', '.join(GROWS)} can be extended."
                )
        both: dict[str, Any] = {
            name: _union(getattr(old, name), getattr(self, name)) for name in ("criterion", "baseline", "sigma", "seed")
        }
        everything = (None, ())
        if everything in ((old.images, old.image), (self.images, self.image)):
            both |= {"images": None, "image": ()}
        elif old.image or self.image:
            both |= {"images": None, "image": _union(old.image, self.image)}
        else:
            both |= {"images": max(old.images or 0, self.images or 0)}
        return dataclasses.replace(self, **both)

    def to_toml(self) -> str:
        """Return the text of a file for `read`."""
        values = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in ONCE)
        return "".join(f"{name} = {_toml(value)}\n" for name, value in values if value not in (None, ()))


def resolve(flags: Mapping[str, Any], preset: str | None = None, file: Path | None = None) -> Config:
    """Return the configuration of a command: defaults, then the preset, then the file, then the flags.

    Raises:
        ConfigError: a key is unknown or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        text = resources.files("esbench.bench").joinpath(f"presets/{preset}.toml").read_text(encoding="utf-8")
        values |= {key: value for key, value in tomllib.loads(text).items() if key != "summary"}
    given = {} if file is None else _parsed(file)
    values |= {**given, **flags}
    values = {key: _cast(key, value) for key, value in values.items()}
    config = Config(**_meant_for(values, levels="sigma" in flags or "sigma" in given) | values)
    if "sigma" in flags and not _has_level(config.noise):
        raise ConfigError(
            f"sigma is the level of the noise, and {config.noise!r} has none: leave it out, or choose a noise with a "
            f"level, such as gaussian. 'esbench show {config.noise.partition('[')[0]}' has the parameters of this one."
        )
    return config


def _has_level(noise: str) -> bool:
    info = registry().get("degradation", noise).info
    assert isinstance(info, DegradationInfo)
    return bool(info.parameter)


def _meant_for(values: Mapping[str, Any], levels: bool) -> dict[str, str]:
    """Return the default noise and network of the task and the loss, if they have any.

    Args:
        values: the configuration so far.
        levels: whether noise levels were given, so that a task without noise gets some.
    """
    task = values.get("task", Config.task)
    info = registry().get("task", task).info
    assert isinstance(info, TaskInfo)
    own = {"noise": info.noise} if "task" in values and (_has_level(info.noise) or not levels) else {}
    network = own_network(task, values.get("loss"))
    return own | ({"network": network} if network else {})


def read(file: Path, whole: bool = False) -> Config:
    """Return the configuration in a file.

    Args:
        file: the file.
        whole: require every key that `to_toml` writes, for the file of a run: one that was truncated between two lines
            would be read as another configuration.

    Raises:
        ConfigError: it is not a configuration.
    """
    if whole and (lacking := [name for name in ALWAYS if name not in _parsed(file)]):
        raise ConfigError(f"{str(file)!r} is not the complete configuration of a run: {lacking[0]} is missing.")
    return resolve({}, file=file)


def preset_summary(preset: str) -> str:
    """Return a one-line summary of a preset."""
    text = resources.files("esbench.bench").joinpath(f"presets/{preset}.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["summary"])


def _parsed(file: Path) -> dict[str, Any]:
    try:
        disk.regular(file)  # a FIFO or a device may have no end
        found = tomllib.loads(file.read_text(encoding="utf-8"))
        return {key.replace("-", "_"): value for key, value in found.items()}  # as the flags are written, too
    except Missing:
        raise ConfigError(f"There is no configuration {str(file)!r}.") from None
    except DataError as error:
        raise ConfigError(str(error)) from None
    except (ValueError, OSError, RecursionError) as error:  # not TOML, not UTF-8, or thousands of digits
        raise ConfigError(f"{str(file)!r} cannot be read as TOML: {error}.") from None


def _cast(key: str, value: Any) -> Any:
    """Return a value converted to the type of its field."""
    fields = {f.name: f for f in dataclasses.fields(Config)}
    if key not in fields:
        hint = did_you_mean(key, fields)
        raise ConfigError(
            f"There is no configuration key {key!r}. {hint} The keys are: {', '.join(fields)}.".replace("  ", " ")
        )
    if key in AUTO and value == "auto":
        return None
    if isinstance(fields[key].default, tuple):
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_scalar(key, _types()[key], item) for item in items)
    return value if value is None else _scalar(key, _types()[key], value)


@functools.cache
def _types() -> dict[str, type]:
    """Return the type of one value of each field: `int` of `int`, `int | None` and `tuple[int, ...]`."""
    hints = typing.get_type_hints(Config)
    return {name: next(iter(typing.get_args(hint)), hint) for name, hint in hints.items()}


def _scalar(key: str, kind: type, value: Any) -> Any:
    if isinstance(value, int) and abs(value) >= 2**63:  # as in TOML
        raise ConfigError(f"{key} must be a number of at most 64 bits, got one of {value.bit_length()}.")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{key} must be {kind.__name__}, got {value!r}.")
    return value


def _union(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*old, *(value for value in new if value not in old))


def _toml(value: Any) -> str:
    # JSON and TOML write strings, numbers, booleans and lists alike, except for \uD83D\uDE00 and DEL
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
