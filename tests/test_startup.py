"""Heavy packages are imported where they are used: listing does not wait for torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from esbench.bench import driver
from esbench.bench.config import Config

HEAVY = ("torch", "cv2", "imagecodecs", "jinja2", "matplotlib", "pyarrow")

CALL = """
import json, sys
sys.argv = ["esbench", *json.loads(sys.argv[1])]
from esbench.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("\\nimported", json.dumps(sorted(sys.modules)))
"""


def imported(code: str, *arguments: str, path: str = "") -> set[str]:
    """Return what a fresh interpreter has imported at the end of some code."""
    environ = os.environ | {"PYTHONPATH": path}
    call = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(call, env=environ, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.rpartition("imported ")[2]))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--help"),
        ("list-criteria",),
        ("list-criteria", "--json"),
        ("plugins",),
        ("show", "cifs-jpeg"),
    ],
    ids=" ".join,
)
def test_lists_and_help_import_nothing_heavy(arguments):
    assert not imported(CALL, *arguments) & set(HEAVY)


def test_help_imports_no_command_and_no_numpy():
    modules = imported(CALL, "--help")
    assert "numpy" not in modules
    assert "esbench.cli.run" not in modules
    assert "esbench.registry" not in modules


def test_a_plugin_costs_what_its_records_cost(plugin):
    site = plugin(
        "import esbench\n"
        "@esbench.hookimpl\n"
        "def esbench_criteria():\n"
        "    return [esbench.CriterionInfo(name='dear', summary='imports a lot', target='esbench_dear:dear')]\n"
    )
    (site / "esbench_dear.py").write_text("import torch, cv2\n\ndef dear(frame):\n    return 1.0\n")
    modules = imported(CALL, "list-criteria", path=str(site))
    assert "esbench_local" in modules
    assert not modules & {"esbench_dear", *HEAVY}


@pytest.mark.parametrize(
    "statement",
    [
        "import esbench",
        "from esbench import hookimpl, CriterionInfo, CodecInfo, DatasetInfo, DegradationInfo, Frame, Problem, Event",
        "from esbench import first_stop; first_stop([1, 2, 3], patience=1)",
        "import esbench; esbench.criteria()",
        "import esbench.stopper",
    ],
)
def test_what_a_plugin_imports_is_cheap(statement):
    modules = imported(f"{statement}\nimport json, sys\nprint('imported', json.dumps(sorted(sys.modules)))")
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("loss", ["mse", "r2r", "sure"])
def test_an_optimisation_does_not_import_the_compiler_of_torch(loss):
    optimise = (
        "import json, sys, numpy as np, esbench\n"
        "noisy = np.random.default_rng(0).random((40, 48))\n"
        "esbench.denoise(noisy, loss=sys.argv[1], iterations=2, device='cpu')\n"
        "print('imported', json.dumps(sorted(sys.modules)))"
    )
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", optimise, loss], env=environ, capture_output=True, text=True, check=True
    )
    assert "torch._dynamo" not in json.loads(done.stdout.rpartition("imported ")[2])


def test_a_run_is_read_without_torch(pictures, tmp_path):
    config = Config(
        criterion=("loss",),
        dataset=str(pictures("a")),
        network="skip[channels=2,scales=1]",
        iterations=3,
        patience=1,
        device="cpu",
    )
    driver.run(config, tmp_path / "r", driver.plan(config, tmp_path / "r"), lambda event: None)
    modules = imported(CALL, "export", str(tmp_path / "r"), "-o", str(tmp_path / "table.csv"))
    assert (tmp_path / "table.csv").read_text().count("\n") == 2
    assert not modules & {"torch", "cv2", "imagecodecs", "matplotlib"}
