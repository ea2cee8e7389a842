from __future__ import annotations

import re
import subprocess

import pytest
import torch

from esbench import device
from esbench.errors import UsageError
from esbench.process import environ, python


def test_threads_are_those_asked_for_and_put_back():
    before = torch.get_num_threads()
    with device.threads(3):
        assert torch.get_num_threads() == 3
        with device.threads(None):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("asked", "kind", "units", "found"),
    [
        ("auto", "cpu", {"avx512_bf16": True}, "bfloat16"),
        ("auto", "cpu", {"avx512_bf16": False}, "float32"),
        ("auto", "cpu", {}, "float32"),
        ("auto", "cuda", {"avx512_bf16": True}, "float32"),
        ("float32", "cpu", {"avx512_bf16": True}, "float32"),
        ("bfloat16", "cpu", {}, "bfloat16"),
    ],
)
def test_the_precision_is_bfloat16_where_a_cpu_has_units_for_it(asked, kind, units, found, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
    assert device.precise(asked, kind) == found


def test_another_precision_is_refused():
    with pytest.raises(UsageError, match=r"^precision must be auto or float32 or bfloat16, got 'half'\.$"):
        device.precise("half", "cpu")


def test_a_pytorch_that_does_not_know_the_processor_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert device.precise("auto", "cpu") == "float32"


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
