"""PyTorch's global state: restored after third-party code, and at its defaults while esbench computes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

#: Guards that keep inference mode switched off as long as they exist.
_left: list[Any] = []


@contextlib.contextmanager
def same() -> Iterator[None]:
    """Restore what third-party code may change: modes, default types and devices, threads."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before, arithmetic, threads, entered = _state(torch), _arithmetic(torch), torch.get_num_threads(), _Entered(torch)
    try:
        yield
    finally:
        entered.leave()  # first: a mode may change what the rest returns
        _set(torch, before)
        _set_arithmetic(torch, arithmetic)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Compute with PyTorch's defaults, and `exact`, whatever the user or a plugin has set since the import."""
    import torch

    before = _state(torch)
    _set(torch, PLAIN)
    try:
        with exact():
            yield
    finally:
        _set(torch, before)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Compute float32 as float32, also on a GPU, and with the same algorithms each time: in all threads."""
    import torch

    before = _arithmetic(torch)
    _set_arithmetic(torch, EXACT)
    try:
        yield
    finally:
        _set_arithmetic(torch, before)


class _Entered:
    """The modes and hooks that are in force, to leave those that are added later."""

    def __init__(self, torch: Any) -> None:
        self._c = torch._C
        self._functions, self._dispatches = self._c._len_torch_function_stack(), self._c._len_torch_dispatch_stack()
        self._saved = self._c._autograd._top_saved_tensors_default_hooks(False)
        places = [torch.nn.modules.module, *filter(None, [sys.modules.get("torch.optim.optimizer")])]
        found = [value for place in places for name, value in vars(place).items() if name.startswith(HOOKS)]
        self._hooks = [(hooks, dict(hooks)) for hooks in found if isinstance(hooks, dict)]

    def leave(self) -> None:
        while self._c._len_torch_function_stack() > self._functions:
            self._c._pop_torch_function_stack()
        while self._c._len_torch_dispatch_stack() > self._dispatches:
            self._c._pop_torch_dispatch_stack()
        while self._c._autograd._top_saved_tensors_default_hooks(False) not in (self._saved, None):
            self._c._autograd._pop_saved_tensors_default_hooks()
        for hooks, before in self._hooks:
            if hooks != before:
                hooks.clear()
                hooks.update(before)


#: How the hooks of all modules, and of all optimisers, are called in PyTorch.
HOOKS = "_global_"

#: Inference mode, gradients, default type and device, deterministic algorithms, autocast on a CPU and on a GPU,
#: detection of anomalies, oneDNN.
PLAIN = (False, True, "float32", "cpu", False, False, False, False, False, True)

#: The products whose precision PyTorch has: by library and operation.
PRODUCTS = tuple((library, product) for library in ("cuda", "mkldnn") for product in ("matmul", "conv", "rnn"))

#: cuDNN: whether it is used, times its algorithms, takes those that give the same each time, and rounds to TF32; the
#: precision of products, for all and for each.
EXACT = (True, False, True, False, "highest", *("ieee" for _ in PRODUCTS))


def _state(torch: Any) -> tuple[Any, ...]:
    return (
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        str(torch.get_default_dtype()).removeprefix("torch."),
        str(torch.get_default_device()),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.is_anomaly_enabled(),
        torch._C._get_mkldnn_enabled(),
    )


def _set(torch: Any, wanted: tuple[Any, ...]) -> None:
    now = _state(torch)
    if now == wanted:
        return
    inference, grad, dtype, device, deterministic, warn_only, *autocast, anomaly, onednn = wanted
    if now[0] != inference:
        guard = torch.inference_mode(inference)
        guard.__enter__()
        _left.append(guard)
    torch.set_grad_enabled(grad)
    torch.set_default_dtype(getattr(torch, dtype))
    if now[3] != device:
        torch.set_default_device(None if device == "cpu" else device)  # that of a fresh process is no mode
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    for kind, enabled in zip(("cpu", "cuda"), autocast, strict=True):
        torch.set_autocast_enabled(kind, enabled)
    torch.autograd.set_detect_anomaly(anomaly)
    torch._C._set_mkldnn_enabled(onednn)


def _arithmetic(torch: Any) -> tuple[Any, ...]:
    """Return the settings of `EXACT` as they are; None for an older one that the newer ones have replaced."""
    c = torch._C
    older: list[Any] = []
    for get in (c._get_cudnn_allow_tf32, c._get_float32_matmul_precision):
        try:
            older.append(get())
        except RuntimeError:  # of PyTorch: a mix of both
            older.append(None)
    cudnn = c._get_cudnn_enabled(), c._get_cudnn_benchmark(), c._get_cudnn_deterministic()
    return (*cudnn, *older, *(c._get_fp32_precision_getter(*product) for product in PRODUCTS))


def _set_arithmetic(torch: Any, wanted: tuple[Any, ...]) -> None:
    if _arithmetic(torch) == wanted:
        return
    c, (enabled, benchmark, deterministic, tf32, precision, *products) = torch._C, wanted
    c._set_cudnn_enabled(enabled)
    c._set_cudnn_benchmark(benchmark)
    c._set_cudnn_deterministic(deterministic)
    if tf32 is not None:
        c._set_cudnn_allow_tf32(tf32)
    if precision is not None:
        c._set_float32_matmul_precision(precision)
    for product, own in zip(PRODUCTS, products, strict=True):  # last, because an older one sets some of these too
        c._set_fp32_precision_setter(*product, own)
