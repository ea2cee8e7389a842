"""Probes: measure what criteria need of the network, without an effect on the optimisation."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from esbench import seeds
from esbench.kinds import Probe, Step
from esbench.stopping.criterion import is_part


def probed(probe: Probe, f: torch.nn.Module, step: Step, seed: int, third_party: bool = False) -> dict[str, float]:
    """Return what a probe measures at a step; the network and generators are restored afterwards.

    Args:
        probe: the probe.
        f: the network that the step's `f` calls.
        step: the step.
        seed: the seed of the random numbers of the probe at this step.
        third_party: whether the probe gets a copy of the observation.

    Raises:
        TypeError: it did not return numbers by name.
    """
    generator = torch.Generator(step.z.device).manual_seed(seeds.derive(seed, "probe", step.t))
    observation = copy.deepcopy(step.observation) if third_party else step.observation
    own = dataclasses.replace(step, z=step.z.clone(), generator=generator, memory={}, observation=observation)
    with undisturbed(f), torch.enable_grad():
        found: Any = probe(own)
    if not isinstance(found, Mapping):
        raise TypeError(f"the probe must return numbers by name, got a {type(found).__name__}.")
    if odd := [name for name in found if not is_part(name)]:
        raise TypeError(f"the probe must return numbers by name, got the name {odd[0]!a:.80}.")
    return {str.__str__(name): _number(name, value) for name, value in found.items()}


@contextlib.contextmanager
def undisturbed(f: torch.nn.Module) -> Iterator[None]:
    """Restore what calls of a network change: its buffers, mode and gradients, and its parameters.

    It is called as it is: compiled, each new use of its gradients would take a compilation, and some are not possible.
    """
    training, compiled = f.training, f._compiled_call_impl
    f._compiled_call_impl = None
    before = {name: value.detach().clone() for name, value in f.state_dict().items()}
    gradients = [(p, p.grad) for p in f.parameters()]
    try:
        yield
    finally:
        f.train(training)
        f._compiled_call_impl = compiled
        with torch.no_grad():
            for name, value in f.state_dict().items():
                value.copy_(before[name])
        for p, gradient in gradients:
            p.grad = gradient


def _number(name: object, value: Any) -> float:
    value = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"the probe must return numbers by name, got a {type(value).__name__} as {name!r}.")
    return float(value) if math.isfinite(value) else math.nan
