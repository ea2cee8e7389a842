"""The hooks of esbench: what a plugin can add.

A hook returns records, which are cheap to make; the `target` of a record is imported on first use. An implementation
may omit arguments that it does not use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pluggy

from esbench.events import Event
from esbench.records import CodecInfo, CriterionInfo, DatasetInfo, DegradationInfo

hookspec = pluggy.HookspecMarker("esbench")
hookimpl = pluggy.HookimplMarker("esbench")


@hookspec
def esbench_criteria(codecs: Mapping[str, CodecInfo]) -> Iterable[CriterionInfo]:
    """Add criteria.

    Example:
        ```python
        from esbench import CriterionInfo, hookimpl

        @hookimpl
        def esbench_criteria():
            about = "mean absolute step between neighbours"
            return [CriterionInfo(name="roughness", summary=about, target=roughness)]

        def roughness(frame, *, strength: float = 1.0) -> float:
            return strength * float(abs(frame.float[1:] - frame.float[:-1]).mean())
        ```

    Args:
        codecs: every installed codec, by name.

    Returns:
        One record per criterion.
    """


@hookspec
def esbench_codecs() -> Iterable[CodecInfo]:
    """Add codecs; each also becomes a criterion `cifs-<name>`.

    Example:
        ```python
        import zlib

        from esbench import CodecInfo, hookimpl

        @hookimpl
        def esbench_codecs():
            return [CodecInfo(name="zlib", summary="DEFLATE", target=encode, lossless=True)]

        def encode(image, *, level: int = 6) -> bytes:
            return zlib.compress(image.tobytes(), level)
        ```

    Returns:
        One record per codec.
    """


@hookspec
def esbench_datasets() -> Iterable[DatasetInfo]:
    """Add datasets.

    Example:
        ```python
        import numpy as np

        from esbench import DatasetInfo, hookimpl

        @hookimpl
        def esbench_datasets():
            return [DatasetInfo(name="ramps", summary="a linear ramp", target=Ramps, images=1)]

        class Ramps:
            def ids(self):
                return ["horizontal"]

            def load(self, id):
                ramp = np.arange(256, dtype=np.uint8)[None, :, None]
                return np.broadcast_to(ramp, (64, 256, 3)).copy()
        ```

    Returns:
        One record per dataset.
    """


@hookspec
def esbench_degradations() -> Iterable[DegradationInfo]:
    """Add degradations.

    Example:
        ```python
        from esbench import DegradationInfo, hookimpl

        @hookimpl
        def esbench_degradations():
            about = "uniform noise"
            info = DegradationInfo(name="uniform", summary=about, target=uniform, blind=True)
            return [info]

        def uniform(clean, rng, *, width: float = 0.2):
            noise = rng.uniform(-width / 2, width / 2, clean.shape)
            return (clean + noise).clip(0, 1).astype("float32")
        ```

    Returns:
        One record per degradation.
    """


@hookspec
def esbench_event(event: Event) -> None:
    """Listen to the events of a run, in the process that drives it.

    Example:
        ```python
        from esbench import RunFinished, hookimpl

        @hookimpl
        def esbench_event(event):
            if isinstance(event, RunFinished):
                print(f"{event.done} units done in {event.folder}")
        ```

    Args:
        event: RunStarted, UnitStarted, Progress, Notice, UnitFinished, UnitFailed, UnitPaused or RunFinished; more
            may be added.
    """
