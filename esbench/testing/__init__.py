"""Conformance checks for criteria.

Example:
    ```python
    from esbench.testing import check_criterion

    def test_the_criterion_passes_all_checks():
        assert [f for f in check_criterion("wmv[window=10]") if f.status == "failed"] == []
    ```
"""

from __future__ import annotations

from esbench.testing.criterion import Finding, check_criterion

__all__ = ["Finding", "check_criterion"]
