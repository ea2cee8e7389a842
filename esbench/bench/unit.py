"""One unit: the optimisation, and all criteria measured on it. The one function that another process may call."""

from __future__ import annotations

import functools
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from esbench import images, metrics, seeds
from esbench.bench import grid
from esbench.bench.store import Run, Unit
from esbench.criterion import Criterion
from esbench.errors import EsbenchError, PluginError, UnitError, UsageError
from esbench.params import plain
from esbench.registry import registry
from esbench.rule import Running
from esbench.types import (
    Block,
    Event,
    Frame,
    Notice,
    Outcome,
    Pictures,
    Problem,
    Progress,
    UnitFailed,
    UnitFinished,
    UnitSpec,
    UnitStarted,
)

if TYPE_CHECKING:
    import torch

    from esbench.dip.loop import Trajectory

#: Seconds between two Progress events.
PROGRESS_EVERY = 0.25

#: A unit is run again for a criterion that was added later; its losses must then be those that are on the disk.
SAME = 1e-6


@dataclass(frozen=True)
class Job:
    """A unit to run, in plain values.

    Attributes:
        spec: the unit.
        run: the folder of the run.
        dataset: how the data set is opened: a name, or an absolute path.
        device: cpu, cuda or cuda:N.
        criteria: canonical texts.
        patience: of the rule, for the stops whose pictures are kept.
        live: end as soon as all criteria have stopped.
    """

    spec: UnitSpec
    run: str
    dataset: str
    device: str
    criteria: tuple[str, ...]
    patience: int
    live: bool = False


def run_unit(job: Job, emit: Callable[[Event], None]) -> Outcome:
    """Run a unit and leave its numbers on the disk; what fails is said and written down, and the other units go on."""
    unit = Run(job.run).unit(grid.unit_id(job.spec))
    started = time.perf_counter()
    emit(UnitStarted(unit=unit.id, iterations=job.spec.iterations))
    try:
        _run(job, unit, emit)
    except Exception as error:
        reason = str(error) if isinstance(error, EsbenchError) else f"{type(error).__name__}: {error}"
        try:
            unit.write_error(traceback.format_exc())
        except OSError as disk:
            reason += f" (nor could it be written down: {disk})"
        emit(UnitFailed(unit=unit.id, reason=reason))
        return Outcome(unit=unit.id, status="failed", seconds=time.perf_counter() - started, reason=reason)
    seconds = time.perf_counter() - started
    emit(UnitFinished(unit=unit.id, seconds=seconds))
    return Outcome(unit=unit.id, status="done", seconds=seconds)


def todo(job: Job, unit: Unit) -> tuple[str, ...]:
    """Return the criteria for which a unit has to be run: none where it is done.

    Raises:
        UsageError: a criterion was measured by another version of its plugin.
    """
    result = unit.result()
    if result is None:
        return job.criteria
    done = result["criteria"]
    for text in job.criteria:
        was, now = done.get(text, {}).get("made_by"), made_by(text)
        if was is not None and was != now and not done[text]["failed"]:  # where it failed there is nothing to mix
            raise UsageError(
                f"{text!r} was measured by {_maker(was)} in this run, and {_maker(now)} is installed: choose "
                "another --out."
            )
    missing = tuple(text for text in job.criteria if text not in done or done[text]["failed"])
    if not result["complete"] and (missing or not job.live):
        return job.criteria  # it ended early: nothing of it can be joined
    return missing


@functools.cache
def made_by(text: str) -> dict[str, Any]:
    """Return whose numbers a criterion's are: what is recorded with every value, and must not be mixed."""
    record = registry().get("criterion", text).record
    version = record.distribution_version if record.distribution != "esbench" else ""
    return {"distribution": record.distribution, "distribution_version": version, "version": record.info.version}


def _maker(made: dict[str, Any]) -> str:
    return f"{made['distribution']} {made['distribution_version']} (version {made['version']})".replace("  ", " ")


def trajectory(spec: UnitSpec, noisy: np.ndarray[Any, Any], device: str) -> Trajectory:
    """Return the optimisation of a unit, at its first step."""
    from esbench.dip.loop import Trajectory
    from esbench.dip.settings import Settings

    settings = Settings(
        iterations=spec.iterations,
        learning_rate=spec.learning_rate,
        depth=spec.depth,
        input_scale=spec.input_scale,
        perturbation=spec.perturbation,
        precision=spec.precision,
    )
    y = Pictures(noisy[None]).tensor.to(device)
    task = registry().get("task", spec.task)
    f = network(spec, noisy.shape).to(device)
    return Trajectory(
        task.target(y, **task.values), f, settings, seeds.derive(spec.seed, "input", spec.dataset, spec.image)
    )


def network(spec: UnitSpec, shape: tuple[int, ...]) -> torch.nn.Module:
    """Return the network of a unit as it is at the first step, for a picture of shape (H, W, C).

    Raises:
        UsageError: the picture is too small for it.
    """
    import torch

    component = registry().get("network", spec.network)
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from the global generator
        torch.manual_seed(seeds.derive(spec.seed, "network", spec.dataset, spec.image))
        f = component.target(spec.depth, shape[2], **component.values)
    if min(shape[:2]) < f.smallest():
        raise UsageError(
            f"Network {spec.network!r} needs both sides of a picture to be at least {f.smallest()}, got {shape[1]} x "
            f"{shape[0]} ({spec.image!r}): fewer scales do with less, as in 'skip[scales=3]'."
        )
    return f  # type: ignore[no-any-return]


def observation(spec: UnitSpec, dataset: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float | None]:
    """Return the clean picture, the noisy one, and the noise level as far as it is told."""
    clean = images.unit(grid.picture(grid.open_dataset(dataset)[1], spec.image, spec.crop))
    component = grid.degradation(spec.noise, spec.sigma)
    level = "" if spec.sigma is None else plain(spec.sigma)
    rng = np.random.default_rng(seeds.derive(spec.seed, "noise", spec.dataset, spec.image, spec.noise, level))
    noisy = component.target(clean, rng, **component.values)
    if not isinstance(noisy, np.ndarray) or noisy.shape != clean.shape or not np.isfinite(noisy).all():
        record = component.record
        raise PluginError(
            f"Degradation {component.text!r} of {record.distribution} {record.distribution_version} must return a "
            f"finite array of shape {clean.shape}, got {getattr(noisy, 'shape', type(noisy).__name__)}."
        )
    return clean, noisy.astype(np.float32), None if getattr(component.info, "blind", False) else spec.sigma


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
                self.output = frame.float

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
    peak: Any = None
    last: Any = None

    def take(self, block: Block, seconds: float) -> None:
        """Score a block; the one place that sees the clean picture."""
        psnr = self._score(block.outputs)
        best = max(range(len(psnr)), key=psnr.__getitem__)
        if not self.psnr or psnr[best] > max(self.psnr):
            self.peak = block.outputs[best].float
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


def _run(job: Job, unit: Unit, emit: Callable[[Event], None]) -> None:
    spec, before = job.spec, unit.result()
    live = job.live and not (before is not None and before["complete"])  # what is complete stays so
    clean, noisy, sigma = observation(spec, job.dataset)
    problem = Problem(noisy=Pictures(noisy[None])[0], sigma=sigma, task=spec.task)
    columns = [Column(_criterion(text, problem, unit, emit), Running(job.patience)) for text in todo(job, unit)]
    optimisation = trajectory(spec, noisy, job.device)
    unit.begin(spec)

    trace = Trace(Pictures(clean[None]).tensor.to(optimisation.task.y.device))
    told = time.perf_counter()
    blocks = iter(optimisation)
    while True:
        started = time.perf_counter()
        block = next(blocks)
        trace.take(block, time.perf_counter() - started)
        frames = list(block.frames(problem))
        for column in columns:
            column.take(frames)
        for step in block.restored:
            text = f"the loss rose at step {step} ({block.losses[step - block.first]:.3g}): back to an earlier state"
            emit(Notice(unit=unit.id, text=text))
        ends = len(trace.loss) == spec.iterations or (live and all(c.rule.stop or c.failed for c in columns))
        if ends or time.perf_counter() - told >= PROGRESS_EVERY:
            told = time.perf_counter()
            emit(_progress(unit, spec, trace, columns))
        if ends:
            break
    complete = len(trace.loss) == spec.iterations
    joined = before is not None and before["complete"] and complete
    if joined:
        _agree(trace, unit)
    _write(job, unit, trace, columns, clean, noisy, before if joined else None, optimisation.restored)


def _criterion(text: str, problem: Problem, unit: Unit, emit: Callable[[Event], None]) -> Criterion:
    """Return a criterion for a unit, and tell what `auto` came to."""
    criterion = Criterion(registry().get("criterion", text), problem)
    values = criterion.component.values
    for key, value in criterion.resolved.items():
        if value != values[key]:
            emit(Notice(unit=unit.id, text=f"{text}: {key}={values[key]} is {value:.6g}"))
    return criterion


def _progress(unit: Unit, spec: UnitSpec, trace: Trace, columns: list[Column]) -> Progress:
    return Progress(
        unit=unit.id,
        step=len(trace.loss),
        iterations=spec.iterations,
        psnr_db=trace.psnr[-1],
        best={c.criterion.text: c.rule.best_step for c in columns if c.rule.best_step is not None},
        stopped={c.criterion.text: c.rule.stop.step for c in columns if c.rule.stop is not None},
    )


def _agree(trace: Trace, unit: Unit) -> None:
    """Check that this is the optimisation that is on the disk.

    Raises:
        UnitError: it is another one.
    """
    stored, loss = unit.trace(["loss"])["loss"], np.array(trace.loss)
    same = (loss == stored) | (np.isnan(loss) & np.isnan(stored))
    off = np.max(np.where(same, 0.0, np.abs(loss - stored) / np.abs(stored)))
    if not off <= SAME:
        raise UnitError(
            f"A different trajectory: the losses differ from those on the disk by up to {off:.2g} relative (allowed: "
            f"{SAME}). Values of the two cannot be mixed; another --out measures all criteria anew."
        )


def _write(
    job: Job,
    unit: Unit,
    trace: Trace,
    columns: list[Column],
    clean: Any,
    noisy: Any,
    before: dict[str, Any] | None,
    restored: list[int],
) -> None:
    complete = len(trace.loss) == job.spec.iterations
    pictures = {"clean": clean, "noisy": noisy, "peak": trace.peak, "last": trace.last.float}
    criteria = dict(before["criteria"]) if before else {}
    for column in columns:
        c, stop = column.criterion, column.rule.stop
        output = column.output if stop is not None else trace.last.float
        entry: dict[str, Any] = {"made_by": made_by(c.text), "resolved": c.resolved, "failed": column.failed}
        if not column.failed:
            entry |= {
                "patience": job.patience,
                "stop_step": stop.step if stop is not None else len(trace.loss) - 1,
                "ssim": metrics.finite(metrics.ssim(output, clean)) if min(clean.shape[:2]) >= 11 else None,
                "missing": column.missing,
                "reason": column.reason,
            }
            pictures[f"stop-{c.text}"] = output
            unit.write_criterion(
                c.text, column.table(), entry["made_by"] | {"criterion": c.text, "resolved": c.resolved}
            )
        criteria[c.text] = entry
    for name, picture in pictures.items():
        unit.write_image(name, Pictures(np.nan_to_num(np.array(picture))[None]).uint8[0])
    if before is None:
        unit.write_trace(trace.table())
    from esbench.bench.stamp import machine

    unit.write_result(
        {
            "complete": complete,
            "steps": len(trace.loss),
            "peak_step": int(np.argmax(trace.psnr)) if complete else None,
            "peak_db": metrics.finite(max(trace.psnr)) if complete else None,
            "last_db": metrics.finite(trace.psnr[-1]) if complete else None,
            "average_peak_db": metrics.finite(max(trace.average_psnr)) if complete else None,
            "seconds": trace.seconds[-1],
            "restored": restored,
            "machine": machine(job.device),
            "criteria": criteria,
        }
    )
