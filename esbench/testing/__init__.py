"""The conformance kit: what a criterion has to keep to, checked on one's own.

Example:
    ```python
    from esbench.testing import check_criterion

    def test_it_keeps_to_what_a_criterion_promises():
        assert [f for f in check_criterion("wmv[window=10]") if f.status == "failed"] == []
    ```
"""

from __future__ import annotations

from esbench.testing.criterion import Finding, check_criterion

__all__ = ["Finding", "check_criterion"]
