from __future__ import annotations

import json

from esbench.recommendation import recommended


def test_it_prints_the_criterion_and_why(esbench):
    answer, found = esbench("recommend", "--task", "denoise"), recommended("denoise", level_known=False)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{found.criterion}\n{found.why}\n"
    assert esbench("recommend", "--blind").out == answer.out


def test_as_json_it_has_the_row_that_it_comes_from(esbench):
    found = json.loads(esbench("recommend", "--sigma", "25", "--json").out)
    assert found["criterion"] == found["measured"]["criterion"]
    assert found["measured"]["level_known"] is True


def test_a_level_that_is_both_known_and_not_is_refused(esbench):
    answer = esbench("recommend", "--sigma", "25", "--blind")
    assert answer.code == 2
    assert "choose one" in answer.err
