from __future__ import annotations

import os
import sys

import pytest

from esbench.untouched import Untouched


@pytest.mark.parametrize(("place", "name", "alike"), [(os, "environ", dict), (sys, "path", list)])
def test_what_is_replaced_by_something_equal_is_put_back(monkeypatch, place, name, alike):
    """Nothing that is only alike: what is in the old one's place would be changed unnoticed later."""
    before = getattr(place, name)
    monkeypatch.setattr(place, name, before)  # undone even if the test fails
    with Untouched()():
        setattr(place, name, alike(before))
    assert getattr(place, name) is before
