"""Checkpoints: a unit that was killed resumes at its last one, and ends with the trace of an uninterrupted unit.

They contain plain data (`plain`), never a pickled object, so resuming a run from elsewhere executes no code from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from esbench import __version__
from esbench.bench import grid
from esbench.bench.store import Unit
from esbench.errors import DataError, UnitError
from esbench.registry import made_by

if TYPE_CHECKING:
    from esbench.engine.session import Session
    from esbench.stopping.column import Column


def save(unit: Unit, session: Session, state: Mapping[str, Any]) -> None:
    """Write everything that the rest of a unit depends on.

    Raises:
        OSError: it cannot be written.
    """
    import torch

    threads = torch.get_num_threads()
    unit.write_checkpoint({"of": _of(session.columns), "threads": threads, "session": dict(state)})


def load(unit: Unit, session: Session) -> Any:
    """Restore a unit from its last checkpoint, if it has one, and return the number of threads that computed it.

    Raises:
        DataError: the checkpoint cannot be used.
        UnitError: the checkpoint does not fit, although it is of the same unit and the same versions.
    """
    state = unit.checkpoint(session.trajectory.z.device)
    if state is None:
        return None
    was, now = state.get("of"), _of(session.columns)
    if was != now:
        differs = [key for key in now if not isinstance(was, dict) or was.get(key) != now[key]]
        raise DataError(f"The checkpoint was made with another {' and another '.join(differs)}.")
    try:
        session.load_state_dict(state["session"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        # it may be partly restored: the unit cannot restart with these objects
        unit.drop_checkpoint()
        raise UnitError("Its checkpoint does not fit it and was removed; --retry-failed restarts it.") from error
    return state.get("threads")


def _of(columns: Sequence[Column]) -> dict[str, Any]:
    """Return what a checkpoint must have in common with the unit that resumes from it."""
    import torch

    return {
        "esbench": __version__,
        "engine": grid.ENGINE,
        "torch": torch.__version__,
        "set of criteria": {column.text: made_by(column.text) for column in columns},
        "patience": sorted({column.rule.patience for column in columns}),
    }
