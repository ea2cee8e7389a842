"""The same optimisation, faster: it uses the features of the device, but computes the same.

`loop.Trajectory` is the reference. With one seed, in float32, both give the same losses except for the rounding of
sums, and each gives the same numbers every time on one machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from esbench.average import Average
from esbench.engine import convolution
from esbench.engine.adam import Adam
from esbench.engine.loop import Fit, Made, Trajectory
from esbench.engine.settings import Settings
from esbench.frames import Block

#: Steps times pixels from which on the network is compiled for a GPU, which takes about a minute: as those of a unit of
#: table 1, some two minutes of an H200 in float32 by the count of its operations, of which there are many in a run.
COMPILE_FROM = 3e9

#: Steps before a graph is captured: by then the libraries are initialised and the optimiser has its moments.
WARM = 3


class Fast(Trajectory):
    """A trajectory that is optimised for its device.

    Everywhere: channels last, which the fastest convolutions need, and a fused optimiser. On a CPU: the memory of one
    step is kept for the next, without AVX-512 wide convolutions are products of matrices, and in bfloat16 the gradients
    of weights are made in strips of rows. On a GPU: the network is compiled if that pays off, a step is captured as a
    graph and replayed, so that nothing waits for Python, and in bfloat16 channels are padded to whole vectors.

    Attributes:
        notes: which features are not available and why, a sentence each.
    """

    def __init__(
        self,
        fit: Fit,
        network: nn.Module,
        z: torch.Tensor,
        generator: torch.Generator,
        settings: Settings,
        average: Average | None = None,
    ) -> None:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(fit, network, z, generator, settings, average)
        cuda = self.z.is_cuda
        self.optimiser = Adam(self.f.parameters(), settings.learning_rate, fused=True, capturable=cuda)
        self.notes: list[str] = []
        convolution.suit(self.f, self.z.device, settings.precision)
        self._compiles = cuda and settings.iterations * self.z[0, 0].numel() >= COMPILE_FROM
        self._captures = cuda and fit.captured
        if cuda:
            self._stream = torch.cuda.Stream(self.z.device)  # type: ignore[no-untyped-call]
        self._forget()

    def __iter__(self) -> Iterator[Block]:
        with kept_memory():
            yield from super().__iter__()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another trajectory of the same task, network, settings and seed, to the bit."""
        super().load_state_dict(state)
        self._forget()

    def _restore(self) -> None:
        super()._restore()
        self._forget()

    def _perturbed(self) -> torch.Tensor:
        z = super()._perturbed()
        return z if z.is_cuda else z.contiguous(memory_format=torch.channels_last)

    def _forget(self) -> None:
        # a graph writes to the moments that existed when it was captured, which may have been replaced
        self._graph: Graph | None = None
        self._warm = 0

    def _update(self, t: int, z: torch.Tensor) -> Made:
        if self._compiles:
            self._compiles = False
            self._compile(z)
        if not self._captures:
            return super()._update(t, z)
        if self._warm < WARM:
            self._warm += 1
            return self._aside(t, z)
        if self._graph is None:
            self._graph = self._capture(t, z)
        return self._graph(z) if self._graph else super()._update(t, z)

    def _compile(self, z: torch.Tensor) -> None:
        """Compile the network, with a trial that is undone; if that fails, it is not changed."""
        # each size of picture is compiled once per process; by default PyTorch limits the number of sizes
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
        torch._inductor.config.deterministic = True  # kernels chosen by their speed would change the bits
        state = self.state_dict()
        try:
            self.f.compile(dynamic=False)
            super()._update(self.t, z)
        except Exception as error:  # an error of the network itself is raised again without compilation
            self.f._compiled_call_impl = None
            self.notes.append(f"The network is not compiled, so it is slower: {_line(error)}")
        finally:
            self.load_state_dict(state)

    def _aside(self, t: int, z: torch.Tensor) -> Made:
        """Update on the stream of the capture, which needs everything to be initialised."""
        here = torch.cuda.current_stream(z.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            made = super()._update(t, z)
        here.wait_stream(self._stream)
        return cloned(made)

    def _capture(self, t: int, z: torch.Tensor) -> Graph | None:
        """Return an update as a graph; if that fails, the updates continue one kernel at a time."""
        self.optimiser.zero_grad()  # the gradients must be in the memory of the graph
        try:
            return Graph(functools.partial(super()._update, t), z, self._stream)
        except RuntimeError as error:
            self._captures = False
            self.notes.append(f"Steps are not captured as a graph, so they are slower: {_line(error)}")
            return None


class Graph:
    """An update with all its kernels captured: a call replays them, without allocating or freeing memory.

    Args:
        update: maps an input to an output and its terms.
        z: an input.
        stream: the stream on which the update has run before.
    """

    def __init__(self, update: Callable[[torch.Tensor], Made], z: torch.Tensor, stream: Any) -> None:
        self.graph, self.z = torch.cuda.CUDAGraph(), z.clone()
        with (
            torch.cuda.device(z.device),
            torch.cuda.stream(torch.cuda.current_stream(z.device)),  # restores it even if a capture fails
            torch.cuda.graph(
                self.graph, stream=stream, capture_error_mode="thread_local"
            ),  # other threads may use the GPU
        ):
            self.made = update(self.z)

    def __call__(self, z: torch.Tensor) -> Made:
        """Update for another input of the same size."""
        self.z.copy_(z)
        self.graph.replay()
        return cloned(self.made)


def cloned(made: Made) -> Made:
    """Return copies of the result of an update, which the next one does not overwrite."""
    x, data, parts = made
    return x.clone(), data.clone(), {name: part.clone() for name, part in parts.items()}


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in the process, if the C library supports it (glibc).

    Outputs of layers are large, and large blocks are returned to the system when they are freed; at the next step the
    system clears their pages again, which at 256 x 256 takes a fifth of the time of a step.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    trim_threshold, mmap_threshold, mmap_max = -1, -3, -4  # malloc.h
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, -1)
    try:
        yield
    finally:
        # the values that the library's own adjustment reaches with blocks of this size
        libc.mallopt(mmap_max, 65536)
        libc.mallopt(mmap_threshold, 2**25)
        libc.mallopt(trim_threshold, 2**26)
        libc.malloc_trim(0)


def _line(error: BaseException) -> str:
    """Return the first cause of an error as one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
