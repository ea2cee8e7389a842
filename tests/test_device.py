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
    ("given", "policy", "spins"),
    [
        ({}, "PASSIVE", "1000"),
        ({"OMP_WAIT_POLICY": "active"}, "ACTIVE", None),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE", "7"),
    ],
)
def test_the_commands_let_waiting_threads_sleep_unless_the_user_says_otherwise(given, policy, spins):
    own = {key: value for key, value in environ().items() if key not in device.SLEEPING}
    shown = subprocess.run(
        python("esbench", "env"), env=own | given | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True
    ).stderr
    found = re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", shown)  # of every OpenMP that was loaded
    if not found:
        pytest.skip("this PyTorch has no OpenMP that prints its settings")
    assert set(found) == {policy}
    if spins:
        assert set(re.findall(r"GOMP_SPINCOUNT\s*=\s*'(\w+)'", shown)) == {spins}
