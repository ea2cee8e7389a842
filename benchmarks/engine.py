"""Measure the steps per second of an optimisation: `python -m benchmarks.engine`.

Loops take turns of a few steps, each in its own process, on the same picture:

* plain: `engine.loop.Trajectory`, eager float32;
* ours: `engine.fast.Fast`, in float32 and, if the device supports it (or with `--bfloat16`), in bfloat16;
* reference (`--reference`): the plain loop, and each step measured like the papers' programs: the output is copied to
  the CPU, its PSNR comes from scikit-image, its JPEG from OpenCV, its variance from a buffer of 100 outputs that is
  recomputed each time, BRISQUE from OpenCV and NIQE from pyiqa, if available.

With `--criteria` ours is timed again with all criteria measured on each step. The floor is the time of the
network's convolutions alone, forward and backward, each with separate tensors, as the engine has them on this device.
A ratio is a loop's time over that of plain in the same turn; medians and quartiles are printed. On a CPU, the
processor time is printed beside the wall-clock time, for machines that are shared.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import multiprocessing
import resource
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np
import torch

from esbench import torch_state
from esbench.builtin.datasets.samples import Samples
from esbench.builtin.inputs.noise import UniformNoise
from esbench.builtin.losses.mse import mse
from esbench.builtin.networks.skip import skip
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build, convolution
from esbench.engine.fast import Fast
from esbench.engine.loop import Fit, Trajectory
from esbench.engine.settings import Settings
from esbench.observation import Observation, Problem
from esbench.pictures import Pictures
from esbench.registry import registry
from esbench.stopping.criterion import Criterion

CRITERIA = ("cifs-jpeg", "wmv", "emv", "brisque", "niqe")

#: Units of table 1 of the CIFS paper by the size of their pictures: Kodak24 and CBSD68, three noise levels each.
TABLE = {(512, 768): 24 * 3, (321, 481): 68 * 3}
STEPS = 20_000

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def noisy(h: int, w: int, sigma: float = 25) -> tuple[np.ndarray, np.ndarray]:
    """Return a photograph, tiled to a size, and the same with noise; (H, W, 3) float32 in [0, 1]."""
    sample = Samples().load("hopper").astype(np.float32) / 255
    repeat = (-(-h // sample.shape[0]), -(-w // sample.shape[1]), 1)
    clean = np.tile(sample, repeat)[:h, :w]
    return clean, (clean + np.random.default_rng(0).normal(0, sigma / 255, clean.shape)).astype(np.float32)


def loop(kind: type[Trajectory], observation: np.ndarray, device: str, precision: str = "float32") -> Trajectory:
    settings = Settings(precision=precision)
    torch.manual_seed(0)
    fit = Fit(Denoise(), Observation(observation), mse, captured=True)
    return build.begin(kind, fit, skip(settings.depth, 3).to(device), UniformNoise(), settings, 0)


def steps(trajectory: Trajectory) -> Callable[[], int]:
    blocks = iter(trajectory)
    return lambda: len(next(blocks))


def measured(trajectory: Trajectory, observation: np.ndarray) -> Callable[[], int]:
    """Return a function that computes a block and measures all criteria on each of its steps."""
    blocks = iter(trajectory)
    problem = Problem(noisy=Pictures(observation[None])[0], sigma=25.0)
    criteria = [Criterion(registry().get("criterion", name), problem) for name in CRITERIA]

    def go() -> int:
        frames = list(next(blocks).frames(problem))
        for criterion in criteria:
            criterion.update_block(frames)
        return len(frames)

    return go


def as_the_reference(trajectory: Trajectory, clean: np.ndarray, notes: list[str]) -> Callable[[], int]:
    """Return a function that computes a step and measures it on the CPU, from scratch."""
    from skimage.metrics import peak_signal_noise_ratio

    trajectory.block = 1
    blocks, window = iter(trajectory), deque(maxlen=100)
    brisque, niqe = None, None
    if hasattr(cv2, "quality"):
        from esbench import models

        paths = [str(models.path(name)) for name in (models.BRISQUE_MODEL, models.BRISQUE_RANGE)]
        brisque = cv2.quality.QualityBRISQUE_create(*paths)
    if importlib.util.find_spec("pyiqa"):
        niqe = importlib.import_module("pyiqa").create_metric("niqe", device="cpu")
    notes.append(f"{'with' if brisque else 'without'} BRISQUE (OpenCV), {'with' if niqe else 'without'} NIQE (pyiqa)")

    def go() -> int:
        output = next(blocks).outputs.tensor[0].cpu().numpy()
        x = output.clip(0, 1).transpose(1, 2, 0)
        peak_signal_noise_ratio(clean, x, data_range=1)
        eight = np.rint(x * 255).astype(np.uint8)[:, :, ::-1].copy()
        cv2.imencode(".jpg", eight)
        window.append(output.reshape(-1))
        buffer = np.array(window)
        np.mean((buffer - buffer.mean(0)) ** 2)
        if brisque:
            brisque.compute(eight)
        if niqe:
            niqe(torch.from_numpy(output[None]).clamp(0, 1))
        return 1

    return go


class Convolutions:
    """The convolutions of the network for a picture, without the other layers."""

    def __init__(self, h: int, w: int, device: str, dtype: torch.dtype, multiple: int = 1) -> None:
        seen: list[tuple[torch.nn.Conv2d, tuple[int, ...]]] = []
        with torch.device("meta"):
            f = skip(Settings().depth, 3)
            for m in f.modules():
                if isinstance(m, torch.nn.Conv2d):
                    m.register_forward_hook(lambda m, inputs, _: seen.append((m, tuple(inputs[0].shape))))
            f(torch.empty(1, Settings().depth, h, w))
        self.calls = []
        halves = device == "cpu" and dtype == torch.bfloat16
        self.context = torch.autocast("cpu", dtype) if halves else contextlib.nullcontext()
        self.multiply_adds = 0
        with_gradient = 0
        like = {"device": device, "dtype": dtype}
        for layer, (_, c, *size) in seen:
            first = c == Settings().depth  # the gradient of z is not needed
            filled = -(-c // multiple) * multiple
            conv = torch.nn.Conv2d(filled, layer.out_channels, layer.kernel_size, layer.stride, **like)
            conv.to(memory_format=torch.channels_last)
            if device == "cpu":
                convolution.suit(conv, torch.device(device), str(dtype).removeprefix("torch."))
            x = torch.rand(1, filled, *size, **like).to(memory_format=torch.channels_last)
            with torch.no_grad():
                y = conv(x)
            inputs = [*([] if first else [x.requires_grad_()]), *conv.parameters()]
            self.calls.append((conv, x, inputs, torch.rand_like(y)))
            products = y.numel() * c * layer.weight[0, 0].numel()
            self.multiply_adds += products
            with_gradient += products * (2 if first else 3)
        self.flop = 2 * with_gradient

    def __call__(self) -> int:
        with torch_state.exact(), self.context:  # as the loop
            for conv, x, inputs, g in self.calls:
                torch.autograd.grad(conv(x), inputs, g)
        return 1


class Turns:
    """Loops in separate processes that take turns, and the milliseconds per step of each turn."""

    def __init__(self, names: Sequence[str], h: int, w: int, args: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self.wall: dict[str, list[float]] = {name: [] for name in names}
        self.work: dict[str, list[float]] = {name: [] for name in names}
        self.peak: dict[str, float] = {}
        self.notes: dict[str, list[str]] = {}
        self.ends: dict[str, Connection] = {}
        for name in names:
            self.ends[name], end = context.Pipe()
            context.Process(target=serve, args=(name, h, w, args, end), daemon=True).start()
            end.close()  # so that `recv` ends if the process does
            self.notes[name] = self.ends[name].recv()
        for turn in range(args.warm + args.turns):
            for name, end in self.ends.items():
                end.send(True)
                wall, work, self.peak[name] = end.recv()
                if turn >= args.warm:
                    self.wall[name].append(wall)
                    self.work[name].append(work)
        for end in self.ends.values():
            end.send(False)

    def row(self, name: str, base: str) -> dict[str, Any]:
        mine, other = self.wall[name], self.wall[base]
        ratios = [b / a for a, b in zip(mine, other, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        work = [b / a for a, b in zip(self.work[name], self.work[base], strict=True)]
        return {
            "loop": name,
            "ms_per_step": statistics.median(mine),
            "steps_per_s": 1000 / statistics.median(mine),
            "ratio": statistics.median(ratios),
            "quartiles": [low, high],
            "work_ms_per_step": statistics.median(self.work[name]),
            "work_ratio": statistics.median(work),
            "peak_mib": self.peak[name],
        }


def serve(name: str, h: int, w: int, args: argparse.Namespace, end: Connection) -> None:
    """Create a loop, and take a turn on request."""
    cuda = args.device != "cpu"
    if args.threads:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
    notes: list[str] = []
    go = make(name, h, w, args.device, notes)

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize(args.device)

    end.send(notes)
    while end.recv():
        wait()
        started, worked, done = time.perf_counter(), time.process_time(), 0
        while done < args.steps:
            done += go()
        wait()
        wall, work = time.perf_counter() - started, time.process_time() - worked
        peak = torch.cuda.max_memory_allocated(args.device) if cuda else peak_rss()
        end.send((1000 * wall / done, 1000 * work / done, peak / 2**20))


def peak_rss() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def make(name: str, h: int, w: int, device: str, notes: list[str]) -> Callable[[], int]:
    """Return a function that computes a few steps of a loop and returns their number."""
    clean, observation = noisy(h, w)
    kind, _, rest = name.partition(", ")
    if kind == "plain":
        return steps(loop(Trajectory, observation, device))
    if kind == "reference":
        return as_the_reference(loop(Trajectory, observation, device), clean, notes)
    precision, _, more = rest.partition(", ")
    if kind == "convolutions":
        return Convolutions(h, w, device, DTYPES[precision], 8 if more else 1)
    ours = loop(Fast, observation, device, precision)
    go = measured(ours, observation) if more else steps(ours)
    go()
    notes += ours.notes
    return go


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large matrix product: the ceiling that can be measured."""
    n = 8192 if device != "cpu" else 2048
    a, b = (torch.rand(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(12):
        if device != "cpu":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        a @ b
        if device != "cpu":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * n**3 / statistics.median(seconds[2:])


def race(h: int, w: int, args: argparse.Namespace) -> dict[str, Any]:
    """Let the loops take turns on pictures of a size."""
    halves = args.bfloat16 or args.device != "cpu"
    precisions = ["float32", *(["bfloat16"] if halves else [])]
    names = ["plain", *(f"ours, {p}" for p in precisions), *(f"convolutions, {p}" for p in precisions)]
    if halves:  # the gain of padding 132 channels to 136
        names.append("convolutions, bfloat16, whole vectors")
    if args.reference:
        names.append("reference")
    if args.criteria:
        names.append(f"ours, {precisions[-1]}, criteria")
    turns = Turns(names, h, w, args)
    counted = Convolutions(h, w, "meta", torch.float32)
    rows = [turns.row(name, "plain") for name in names]
    for row in rows:
        kind, _, precision = row["loop"].partition(", ")
        if kind == "ours":
            alone = turns.wall[f"convolutions, {precision.partition(',')[0]}"]
            shares = [a / b for a, b in zip(alone, turns.wall[row["loop"]], strict=True)]
            row["share_of_convolutions"] = statistics.median(shares)
        row["tflop_per_s"] = counted.flop / row["ms_per_step"] / 1e9
    return {
        "height": h,
        "width": w,
        "multiply_adds_per_pixel_forward": counted.multiply_adds / (h * w),
        "gflop_per_step": counted.flop / 1e9,
        "rows": rows,
        "notes": {name: notes for name, notes in turns.notes.items() if notes},
    }


def hours(races: list[dict[str, Any]]) -> dict[str, float]:
    """Return the time of table 1, one unit after the other, if both of its sizes were measured."""
    by_size = {(r["height"], r["width"]): {row["loop"]: row["ms_per_step"] for row in r["rows"]} for r in races}
    if not set(TABLE) <= set(by_size):
        return {}
    names = [name for name in by_size[next(iter(TABLE))] if not name.startswith("convolutions")]
    return {n: sum(units * STEPS * by_size[size][n] for size, units in TABLE.items()) / 3.6e6 for n in names}


def machine(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if device == "cpu":
        with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo") as lines:
            found["processor"] = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    else:
        found["processor"] = torch.cuda.get_device_name(device)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, nargs=2, action="append", metavar=("H", "W"), help="repeatable")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--steps", type=int, help="a turn; 1 on a CPU, 100 on a GPU")
    parser.add_argument("--warm", type=int, default=2, help="turns that are not counted")
    parser.add_argument("--bfloat16", action="store_true", help="also on a CPU")
    parser.add_argument(
        "--reference", action="store_true", help="also the loop that measures like the papers' programs"
    )
    parser.add_argument("--criteria", action="store_true", help=f"also ours with {', '.join(CRITERIA)} on each step")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cpu = args.device == "cpu"
    args.steps = args.steps or (1 if cpu else 100)
    if args.threads:
        torch.set_num_threads(args.threads)
    sizes = args.size or ([(256, 256)] if cpu else list(TABLE))
    races = [race(h, w, args) for h, w in sizes]
    found = {
        **machine(args.device),
        "matrix_tflop_per_s": {
            str(dtype).removeprefix("torch."): matrix_rate(args.device, dtype) / 1e12
            for dtype in ((torch.float32,) if cpu else (torch.float32, torch.bfloat16))
        },
        "sizes": races,
        "hours_of_table_1": hours(races),
    }
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['processor']}, {found['threads']} threads, torch {found['torch']}")
    print(f"a matrix product: {found['matrix_tflop_per_s']} TFLOP/s")
    for r in races:
        print(f"\n{r['width']} x {r['height']}, {r['gflop_per_step']:.0f} GFLOP a step, {args.turns} turns")
        for row in r["rows"]:
            low, high = row["quartiles"]
            line = f"  {row['loop']:34} {row['ms_per_step']:8.2f} ms per step"
            line += f", {row['ratio']:5.2f} ({low:.2f} to {high:.2f})"
            line += f", at work {row['work_ms_per_step']:8.2f} ms, {row['work_ratio']:5.2f}"
            if "share_of_convolutions" in row:
                line += f", {100 * row['share_of_convolutions']:.0f} % of the rate of the convolutions alone"
            line += f", {row['tflop_per_s']:.3g} TFLOP/s"
            print(f"{line}, {row['peak_mib']:.0f} MiB")
        for name, notes in r["notes"].items():
            print(f"  {name}: {' '.join(notes)}")
    for name, number in found["hours_of_table_1"].items():
        print(f"table 1 with {name}: {number:.1f} h")


if __name__ == "__main__":
    main()
