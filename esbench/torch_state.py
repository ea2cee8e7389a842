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
    before, threads, entered = _state(torch), torch.get_num_threads(), _Entered(torch)
    try:
        yield
    finally:
        entered.leave()  # first: a mode may change what the rest returns
        _set(torch, before)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Compute with PyTorch's defaults, whatever the user or a plugin has set since the import."""
    import torch

    before = _state(torch)
    _set(torch, PLAIN)
    try:
        yield
    finally:
        _set(torch, before)


def moved(tree: Any, device: Any) -> Any:
    """Return a state with its tensors on a device: a checkpoint is read into main memory."""
    import torch

    if isinstance(tree, torch.Tensor):
        return tree.to(device)
    if isinstance(tree, dict):
        return {key: moved(item, device) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(moved(item, device) for item in tree)
    return tree


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

#: Inference mode, gradients, default type and device, deterministic algorithms, precision of products, autocast on a
#: CPU and on a GPU, detection of anomalies, oneDNN.
PLAIN = (False, True, "float32", "cpu", False, False, "highest", False, False, False, True)


def _state(torch: Any) -> tuple[Any, ...]:
    return (
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        str(torch.get_default_dtype()).removeprefix("torch."),
        str(torch.get_default_device()),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.is_anomaly_enabled(),
        torch._C._get_mkldnn_enabled(),
    )


def _set(torch: Any, wanted: tuple[Any, ...]) -> None:
    now = _state(torch)
    if now == wanted:
        return
    inference, grad, dtype, device, deterministic, warn_only, precision, *autocast, anomaly, onednn = wanted
    if now[0] != inference:
        guard = torch.inference_mode(inference)
        guard.__enter__()
        _left.append(guard)
    torch.set_grad_enabled(grad)
    torch.set_default_dtype(getattr(torch, dtype))
    if now[3] != device:
        torch.set_default_device(None if device == "cpu" else device)  # that of a fresh process is no mode
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.set_float32_matmul_precision(precision)
    for kind, enabled in zip(("cpu", "cuda"), autocast, strict=True):
        torch.set_autocast_enabled(kind, enabled)
    torch.autograd.set_detect_anomaly(anomaly)
    torch._C._set_mkldnn_enabled(onednn)
