"""Write the results of a unit at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from esbench import metrics
from esbench.bench.build import Scene
from esbench.bench.job import Job
from esbench.bench.replay import found
from esbench.bench.stamp import machine
from esbench.bench.store import Unit
from esbench.engine.session import Session
from esbench.engine.trace import Trace
from esbench.errors import UnitError
from esbench.pictures import Floats, Pictures
from esbench.registry import made_by
from esbench.stopping.column import Column
from esbench.stopping.rule import Stop

#: If a unit is run again for a criterion that was added later, its losses must agree with those on the disk to this.
SAME = 1e-6


def agree(trace: Trace, unit: Unit) -> None:
    """Check that an optimisation is the same as the one on the disk.

    Raises:
        UnitError: it is not.
    """
    stored, loss = unit.trace(["loss"])["loss"], np.array(trace.loss)
    same = (loss == stored) | (np.isnan(loss) & np.isnan(stored))
    off = np.max(np.where(same, 0.0, np.abs(loss - stored) / np.abs(stored)))
    if not off <= SAME:
        raise UnitError(
            f"A different trajectory: the losses differ from those on the disk by up to {off:.2g} relative (allowed: "
            f"{SAME}). Values of the two cannot be mixed; with another --out all criteria are measured again."
        )


def write(job: Job, unit: Unit, scene: Scene, session: Session, joined: Mapping[str, Any] | None) -> None:
    """Write traces, pictures and the result of a unit.

    Args:
        job: the unit.
        unit: the unit on the disk.
        scene: its pictures and its task.
        session: its session, at its end.
        joined: the result to which the columns are added; None for a unit that was not done yet.
    """
    trace = session.trace
    pictures = {"clean": scene.clean, "noisy": scene.observation.y, "peak": trace.peak, "last": trace.last}
    criteria = dict(joined["criteria"]) if joined else {}
    for column in session.columns:
        stop = column.rule.stop or Stop(session.step - 1, None, decided_at=session.step - 1, fallback=True)
        made = made_by(column.text)
        entry: dict[str, Any] = {"made_by": made, "resolved": column.resolved, "failed": column.failed}
        if not column.failed:
            output = trace.last if stop.fallback else Pictures(column.best[None]).float[0]
            pictures[f"stop-{column.text}"] = output
            entry |= _entry(job, scene, trace, column, stop, output)
            owner = made | {"criterion": column.text, "resolved": column.resolved}
            unit.write_criterion(column.text, column.table(), owner)
        criteria[column.text] = entry
    for name, picture in pictures.items():
        unit.write_image(name, Pictures(np.nan_to_num(np.array(picture))[None]).uint8[0])
    if joined is None:
        unit.write_trace(trace.table())
    unit.write_result(
        _scores(scene, trace, session.complete)
        | {
            "complete": session.complete,
            "steps": session.step,
            "seconds": trace.seconds[-1],
            "restored": session.trajectory.restored,
            "resumed": session.resumed,
            "machine": machine(job.device),
            "criteria": criteria,
        }
    )
    unit.drop_checkpoint()


def _entry(job: Job, scene: Scene, trace: Trace, column: Column, stop: Stop, output: Floats) -> dict[str, Any]:
    """Return the result of a criterion that did not fail."""
    return {
        "patience": job.patience,
        **found(stop, trace.psnr, trace.average_psnr, column.ms, trace.score),
        "ssim": metrics.finite(metrics.ssim(output, scene.clean)) if min(scene.clean.shape[:2]) >= 11 else None,
        "missing": column.missing,
        "reason": column.reason,
    }


def _scores(scene: Scene, trace: Trace, complete: bool) -> dict[str, Any]:
    """Return the peaks and the last scores, known only if the unit is complete, and the score without optimisation."""
    scores: dict[str, Any] = {
        "peak_step": int(np.argmax(trace.psnr)) if complete else None,
        "peak_db": _whole(complete, max, trace.psnr),
        "last_db": _whole(complete, _last, trace.psnr),
        "average_peak_db": _whole(complete, max, trace.average_psnr),
        "baseline_db": metrics.finite(scene.score(scene.task.baseline(scene.observation))),
    }
    if trace.score:
        scores |= {
            "score_peak_db": _whole(complete, max, trace.score),
            "score_last_db": _whole(complete, _last, trace.score),
        }
    return scores


def _whole(complete: bool, what: Callable[[list[float]], float], values: list[float]) -> float | None:
    return metrics.finite(what(values)) if complete and values else None


def _last(values: list[float]) -> float:
    return values[-1] if values else math.nan
