"""Record the origin of a run, so that it can be repeated: versions, machine, commit."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from esbench import __version__
from esbench.printable import printable
from esbench.registry import registry


def stamp() -> dict[str, Any]:
    """Return esbench's version and commit, Python, every installed package, and the plugins."""
    return {
        "esbench": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages(),
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version, "status": p.status}
            for p in registry().host.plugins
            if not p.built_in
        ],
    }


def machine(device: str) -> dict[str, Any]:
    """Return the machine of a unit: host, processor or GPU with its driver, threads."""
    import torch

    facts: dict[str, Any] = {"host": platform.node(), "device": device, "torch": torch.__version__}
    if device.startswith("cuda"):
        index = torch.device(device).index or 0
        facts |= {"gpu": torch.cuda.get_device_name(index), "cuda": torch.version.cuda, "driver": _driver()}
    else:
        facts |= {"processor": _processor(), "threads": torch.get_num_threads()}
    return facts


def command() -> str:
    """Return the command line of this process."""
    return printable(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def commit() -> str:
    """Return the commit that esbench runs from, with "+dirty" if it was changed; empty for an installed package."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return ""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, timeout=5)  # noqa: S607
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=home, capture_output=True, text=True, timeout=5)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+dirty" if changed.stdout.strip() else "")


def packages() -> dict[str, str]:
    """Return the version of every installed distribution."""
    found = {d.name: d.version for d in importlib.metadata.distributions() if d.name}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _driver() -> str:
    """Return the version of NVIDIA's driver, as the kernel reports it."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0].removeprefix("NVRM version: ")
    except OSError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
