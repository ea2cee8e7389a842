"""Say in a sentence why an optimisation stopped or not; used everywhere."""

from __future__ import annotations

from esbench.stopping.rule import Running


def sentence(criterion: str, rule: Running) -> str:
    """Return why a criterion stopped, or its best step so far.

    Examples:
        >>> rule = Running(patience=1)
        >>> sentence("wmv", rule)
        'not stopped: wmv had no value in 0 steps'
        >>> _ = [rule.update(value) for value in (2.0, 3.0)]
        >>> sentence("wmv", rule)
        'stopped: wmv was lowest at step 0 (2), not undercut in 1 steps'
    """
    if criterion == "last":
        return f"not stopped in {rule.step + 1} steps, because last never stops"
    if rule.best_step is None:
        return f"not stopped: {criterion} had no value in {rule.step + 1} steps"
    lowest = f"{criterion} was lowest at step {rule.best_step} ({rule.best_value:.4g})"
    if rule.stop is not None:
        return f"stopped: {lowest}, not undercut in {rule.patience} steps"
    return f"not stopped in {rule.step + 1} steps: {lowest}"
