from __future__ import annotations

from esbench.report.failures import alarm, grouped


def result(**distributions: str) -> dict:
    """Return the result of a unit whose criteria are of these distributions."""
    return {
        "criteria": {
            name: {"made_by": {"distribution": owner, "distribution_version": "1.2", "version": 3}}
            for name, owner in distributions.items()
        }
    }


DONE = {f"u{i}": result(a="foo", b="bar", wmv="esbench") for i in range(4)}


def test_failures_are_grouped_by_criterion_and_reason():
    failed = [
        ("u0", "a", "too slow"),
        ("u1", "b", "hung"),
        ("u2", "a", "too slow"),
        ("u3", "a", "died"),
        ("x", "", "?"),
    ]
    whole, slow, hung, died = grouped(failed, DONE)
    assert (whole.criterion, whole.maker, whole.units) == ("", "", ("x",))
    assert (slow.criterion, slow.maker, slow.reason) == ("a", "foo 1.2 (version 3)", "too slow")
    assert slow.units == ("u0", "u2")
    assert (hung.reason, died.reason) == ("hung", "died")


def test_the_alarm_counts_plugins_and_columns():
    assert alarm([], DONE, 4) == ""
    assert (
        alarm([("u0", "a", "x"), ("u1", "b", "y"), ("u2", "b", "y")], DONE, 4) == "2 plugins failed on 3 of 12 columns."
    )
    assert alarm([("u0", "a", "x")], DONE, 4) == "1 plugin failed on 1 of 12 columns."
    assert alarm([("u0", "wmv", "x")], DONE, 4) == "1 criterion failed on 1 of 12 columns."
    assert (
        alarm([("v", "", "x"), ("u0", "a", "x")], DONE, 5) == "1 of 5 units failed; 1 plugin failed on 1 of 12 columns."
    )
