"""Checkpoints: a unit that was killed goes on at its last one, and ends with the trace of an undisturbed unit.

They hold plain data (`plain`), never a pickled object: going on with somebody else's folder
runs no code of theirs.
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
    """Write down all that the rest of a unit depends on.

    Raises:
        OSError: the disk does not take it.
    """
    unit.write_checkpoint({"of": _of(session.columns), "session": dict(state)})


def load(unit: Unit, session: Session) -> None:
    """Take a unit to its last checkpoint, if it has one.

    Raises:
        DataError: there is one that cannot be used.
        UnitError: there is one that was made with the same versions for the same unit, and yet does not fit.
    """
    state = unit.checkpoint()
    if state is None:
        return
    was, now = state.get("of"), _of(session.columns)
    if was != now:
        differs = [key for key in now if not isinstance(was, dict) or was.get(key) != now[key]]
        raise DataError(f"The checkpoint was made with another {' and another '.join(differs)}.")
    try:
        session.load_state_dict(state["session"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        # some of it may be in place already: the unit cannot begin anew with these objects
        unit.drop_checkpoint()
        raise UnitError("Its checkpoint does not fit it and was removed; --retry-failed begins it anew.") from error


def _of(columns: Sequence[Column]) -> dict[str, Any]:
    """Return what a checkpoint must have in common with the unit that goes on from it."""
    import torch

    return {
        "esbench": __version__,
        "engine": grid.ENGINE,
        "torch": torch.__version__,
        "set of criteria": {column.text: made_by(column.text) for column in columns},
        "patience": sorted({column.rule.patience for column in columns}),
    }
