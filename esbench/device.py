"""The device of an optimisation, and the threads of a CPU."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from esbench.errors import Unavailable, UsageError

#: The most threads that an optimisation may be given, far more than help; many thousands end the process.
THREADS = max(256, os.cpu_count() or 1)

PRECISIONS = ("auto", "float32", "bfloat16")


def named(device: str) -> str:
    """Return the device with a name: cpu, cuda or cuda:N; for auto, a GPU if there is one.

    Raises:
        Unavailable: the device is not available.
        UsageError: there is no such device name.
    """
    if device == "cpu":
        return device
    if device != "auto" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}.")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if int(device.partition(":")[2] or 0) >= count:
        raise Unavailable(
            f"Device {device!r} is not available: PyTorch finds {count} CUDA device(s). --device cpu works."
        )
    return device


def precise(precision: str, device: str) -> str:
    """Return the precision of a network on a device; for auto, bfloat16 on a CPU with units for it, else float32.

    The units are those of AVX-512, for which the quality has been measured; with AMX a CPU has them too.

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be {' or '.join(PRECISIONS)}, got {precision!r}.")
    if precision != "auto":
        return precision
    if device != "cpu":  # a GPU has not been measured
        return "float32"
    import torch

    find = getattr(torch.cpu, "get_capabilities", None)  # PyTorch 2.6 has none
    return "bfloat16" if find is not None and find().get("avx512_bf16") else "float32"


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Compute with this number of threads, or with PyTorch's own; restore the number afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if n is None else n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: Any OpenMP: sleep while waiting. GNU's, that of PyTorch for Linux: after this many turns of a loop, some 50 us.
SLEEPING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}


def let_threads_sleep() -> None:
    """Let threads that wait for others sleep soon, in this process and its children; before PyTorch is imported.

    By default they spin for milliseconds, several times per step. On a busy machine they then keep the threads that
    they wait for from running, which makes a step several times as long as on one thread. If they sleep at once, waking
    them takes a tenth of a step of a small picture.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ.update(SLEEPING)
