from __future__ import annotations

from esbench.report.tables import Table


def test_columns_are_aligned_and_numbers_stand_to_the_right():
    table = Table(("name", "value", "n"), [("a", 1.5, 10), ("longer", None, 2), ("b", 1234567.0, -3)])
    assert table.text() == (
        "name          value   n\n"
        "------  -----------  --\n"
        "a               1.5  10\n"
        "longer            -   2\n"
        "b       1.23457e+06  -3"
    )


def test_a_table_without_rows_is_its_head():
    assert Table(("a", "bc"), []).text() == "a  bc\n-  --"
