"""The device of an optimisation."""

from __future__ import annotations

import re

from esbench.errors import Unavailable, UsageError


def named(device: str) -> str:
    """Return the device of a name: cpu, cuda or cuda:N; for auto a GPU if there is one.

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
