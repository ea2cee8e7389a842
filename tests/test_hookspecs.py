from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from esbench import hookspecs
from esbench.events import RunFinished
from esbench.frames import Frame
from esbench.pictures import Pictures
from esbench.plugins import PluginHost
from esbench.registry import Registry

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("esbench_")}
IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give example(hook): a registry in which the plugin of the hook's docstring is installed."""

    def example(hook: str) -> Registry:
        code = re.search(r"```python\n(.*?)```", HOOKS[hook].__doc__, re.DOTALL)[1]
        (tmp_path / "esbench_docstring.py").write_text(textwrap.dedent(code))
        info = tmp_path / "esbench_docstring-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: esbench-docstring\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[esbench]\ndocstring = esbench_docstring\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        found = Registry(PluginHost({}))
        (plugin,) = [p for p in found.host.plugins if p.distribution == "esbench-docstring"]
        assert (plugin.status, plugin.reason) == ("ok", "")
        return found

    yield example
    sys.modules.pop("esbench_docstring", None)


def test_every_hook_says_what_it_adds_and_has_an_example_that_a_test_runs():
    here = Path(__file__).read_text(encoding="utf-8")
    for name, hook in HOOKS.items():
        assert re.match(r"(Add|Listen to) .*\.\n?", hook.__doc__.partition("\n\n")[0] + "\n"), name
        assert f'example("{name}")' in here, name
    assert len(HOOKS) == 5


def test_the_example_of_criteria_runs(example):
    component = example("esbench_criteria").get("criterion", "roughness[strength=2]")
    assert component.target(Frame(Pictures(IMAGE[None])), strength=2.0) == pytest.approx(24 / 255)


def test_the_example_of_codecs_runs_and_becomes_a_criterion(example):
    found = example("esbench_codecs")
    component = found.get("codec", "zlib")
    assert isinstance(component.target(IMAGE, **component.values), bytes)
    assert found.find("criterion", "cifs-zlib").distribution == "esbench-docstring"


def test_the_example_of_datasets_runs(example):
    dataset = example("esbench_datasets").get("dataset", "ramps").target()
    pictures = [dataset.load(name) for name in dataset.ids()]
    assert [(p.shape, p.dtype) for p in pictures] == [((64, 256, 3), np.uint8)]


def test_the_example_of_degradations_runs(example):
    component = example("esbench_degradations").get("degradation", "uniform[width=0.1]")
    clean = np.full((8, 8, 3), 0.5, np.float32)
    degraded = component.target(clean, np.random.default_rng(0), width=0.1)
    assert (degraded.shape, degraded.dtype) == (clean.shape, np.float32)
    assert 0 < np.abs(degraded - clean).max() <= 0.05


def test_the_example_of_event_runs(example, capsys):
    example("esbench_event").host.emit(RunFinished(folder="r", done=3, failed=0))
    assert "3 units done in r" in capsys.readouterr().err
