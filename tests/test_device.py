from __future__ import annotations

import re
import subprocess

import pytest
import torch

from esbench import device
from esbench.process import environ, python


def test_threads_are_those_asked_for_and_put_back():
    before = torch.get_num_threads()
    with device.threads(3):
        assert torch.get_num_threads() == 3
        with device.threads(None):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")],
)
def test_the_commands_let_waiting_threads_sleep_unless_the_user_says_otherwise(given, expected):
    own = {key: value for key, value in environ().items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    shown = subprocess.run(
        python("esbench", "env"), env=own | given | {"OMP_DISPLAY_ENV": "true"}, capture_output=True, text=True
    ).stderr
    found = re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", shown)  # of every OpenMP that was loaded
    if not found:
        pytest.skip("this PyTorch has no OpenMP that prints its settings")
    assert set(found) == {expected}
