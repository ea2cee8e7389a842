"""Properties of every network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esbench import torch_state
from esbench.builtin import networks
from esbench.records import NetworkInfo
from esbench.registry import registry

DOCS = Path(__file__).parents[3] / "docs"

#: Every network, small where it can be.
SMALL = ["skip[channels=2,scales=2,skips=1]", "decoder[channels=2,scales=3]", "s2s", "unet[channels=2/3/2]"]

#: Counted in the authors' code: channels of z and of the picture, parameters.
PAPERS = [
    ("skip", 32, 3, 2_217_831),
    ("skip[channels=8/16/32/64/128,skips=0/0/0/4/4]", 3, 3, 572_827),
    ("skip[skips=0,upsample=nearest]", 2, 3, 2_157_955),
    ("skip[skips=128,upsample=nearest]", 32, 3, 3_002_627),
    ("skip[channels=16/32,kernel=5,pointwise=false,skips=0,upsample=nearest]", 1, 3, 59_635),
    ("skip[channels=16/32/64/128,kernel=5,pointwise=false,skips=0,upsample=nearest]", 1, 3, 1_060_339),
    ("skip[channels=16/32/64/128/128/128,kernel=5,pointwise=false,skips=0,upsample=nearest]", 1, 3, 2_996_467),
    ("unet", 1, 3, 1_616_315),
    ("skip", 32, 1, 2_217_573),
    ("skip[channels=16/32/64/128/128,downsample=average,skips=0]", 32, 3, 1_027_379),
    ("skip[upsample=nearest/nearest/bilinear/bilinear/bilinear]", 3, 3, 2_184_307),
    (
        "skip[skips=15/13/11/9/7/5/3/1,upsample=nearest/nearest/nearest/nearest/bilinear/bilinear/bilinear/bilinear]",
        3,
        3,
        3_621_104,
    ),
    ("decoder", 128, 3, 100_224),
    ("s2s", 3, 3, 1_140_627),
    ("s2s", 1, 1, 1_138_033),
]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def made(text: str, inputs: int = 2, outputs: int = 3) -> Any:
    component = registry().get("network", text)
    return component.target(inputs, outputs, **component.values)


def test_every_network_is_tested_here():
    assert [text.partition("[")[0] for text in SMALL] == [info.name for info in networks.INFOS]


def test_the_settings_that_a_network_does_not_tell_are_those_of_the_deep_image_prior():
    info = NetworkInfo(name="n", summary="s", target="a:b")
    assert (info.learning_rate, info.perturbation, info.input, info.depth) == (0.01, 1 / 30, "noise", 32)


@pytest.mark.parametrize("info", networks.INFOS, ids=lambda info: info.name)
def test_the_depth_of_the_input_is_a_number_or_that_of_a_parameter(info):
    depth = registry().get("network", info.name).values[info.depth] if isinstance(info.depth, str) else info.depth
    assert depth >= 1


@pytest.mark.parametrize(("text", "inputs", "outputs", "parameters"), PAPERS)
def test_the_networks_of_the_papers_have_as_many_parameters_as_theirs(text, inputs, outputs, parameters):
    assert sum(p.numel() for p in made(text, inputs, outputs).parameters()) == parameters
    assert registry().get("network", text).text == text
    (row,) = [r for r in _rows() if r[1:4] == [f"`{text}`", f"{inputs} → {outputs}", f"{parameters:,}"]]
    assert row[0]


def test_no_other_network_of_a_paper_is_documented():
    assert len(_rows()) == len(PAPERS)


def _rows() -> list[list[str]]:
    text = (DOCS / "networks.md").read_text(encoding="utf-8").partition("## The networks of the papers")[2]
    table = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize("text", SMALL)
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_every_size_that_is_not_unfit_comes_out_as_it_was_asked_for(text, data):
    f = made(text)
    smallest = next(side for side in range(1, 100) if not f.unfit(side, side))
    h, w = (data.draw(st.integers(smallest, smallest + 20)) for _ in range(2))
    assert f.unfit(h, w) == ""
    x = f(torch.rand(1, 2, *f.input_size(h, w)))
    assert x.shape == (1, 3, h, w)
    assert 0 <= x.min() <= x.max() <= 1
    x.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in f.parameters())
    assert f.unfit(smallest - 1, w).startswith(f"needs both sides to be at least {smallest}")
    assert f.unfit(h, smallest - 1) == f.unfit(smallest - 1, w)


@pytest.mark.parametrize("text", SMALL)
def test_the_picture_can_be_learned(text):
    torch.manual_seed(0)
    f = made(text, 3)
    y = torch.linspace(0.2, 0.8, 40)[None, None, None, :] * torch.ones(1, 3, 34, 1)
    z = torch.rand(1, 3, *f.input_size(34, 40))
    adam = torch.optim.Adam(f.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = (f(z) - y).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("text", SMALL)
def test_the_layout_in_memory_does_not_matter(text):
    torch.manual_seed(0)
    f = made(text).double()
    z = torch.rand(1, 2, *f.input_size(35, 38), dtype=torch.float64)
    torch.testing.assert_close(
        f.to(memory_format=torch.channels_last)(z), f.to(memory_format=torch.contiguous_format)(z)
    )


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("text", SMALL)
def test_on_cuda_the_gradient_is_the_same_each_time(text):
    torch.manual_seed(0)
    f = made(text).cuda().to(memory_format=torch.channels_last)  # as `Fast`
    z = torch.rand(1, 2, *f.input_size(65, 70), device="cuda")
    with torch_state.exact():
        first, second = (torch.autograd.grad(f(z).square().sum(), list(f.parameters())) for _ in range(2))
    assert all(map(torch.equal, first, second))
