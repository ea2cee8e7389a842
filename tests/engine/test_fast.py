from __future__ import annotations

import copy
import dataclasses
import math
import resource
import sys

import pytest
import torch
from torch import nn

from esbench.builtin.inputs.noise import UniformNoise
from esbench.builtin.losses.mse import mse
from esbench.builtin.networks.skip import skip
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build, convolution, fast, loop
from esbench.engine.fast import Fast, kept_memory
from esbench.engine.loop import Fit, Trajectory
from esbench.engine.session import Session
from esbench.engine.settings import Settings
from esbench.observation import Observation, Problem
from esbench.plain import dumps, loads
from esbench.stopping.column import Column
from esbench.stopping.rule import Running

SMALL = Settings(iterations=50, depth=4)


def made(
    kind: type[Trajectory], settings: Settings = SMALL, *, device: str = "cpu", double: bool = False
) -> Trajectory:
    """Return a trajectory of a picture with odd sides, in float64 on demand."""
    torch.manual_seed(0)
    f = skip(settings.depth, 3, channels=8, skips=2, scales=2)
    y = torch.rand((1, 3, 21, 26), generator=torch.Generator().manual_seed(7))
    dtype = torch.float64 if double else torch.float32
    fit = Fit(Denoise(), Observation(y[0].permute(1, 2, 0).to(dtype).numpy()), mse, captured=True)
    trajectory = build.begin(kind, fit, f.to(device, dtype), UniformNoise(), settings, 0)
    trajectory.z = trajectory.z.to(dtype)
    return trajectory


def losses(trajectory: Trajectory) -> list[float]:
    return [loss for block in trajectory for loss in block.losses]


# -- it computes what the plain loop computes


def test_it_follows_the_plain_loop_where_rounding_does_not_part_them():
    # in float32 the plain loop itself goes elsewhere when the last bit of a weight is changed
    assert losses(made(Fast, double=True)) == pytest.approx(losses(made(Trajectory, double=True)), rel=1e-7)


@pytest.mark.parametrize(
    ("capability", "multiplied", "wide"), [("AVX2", 6, 1), ("AVX2", 6, 1000), ("AVX512", 0, 1), ("DEFAULT", 0, 1)]
)
def test_it_follows_it_on_any_processor(capability, multiplied, wide, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(convolution, "NARROW", 1)
    monkeypatch.setattr(convolution, "PAIRS", 1)
    monkeypatch.setattr(convolution, "MANY", 0)
    monkeypatch.setattr(convolution, "WIDE", wide)
    ours = made(Fast, double=True)
    assert sum(isinstance(m, convolution.Multiplied) for m in ours.f.modules()) == multiplied
    assert losses(ours) == pytest.approx(losses(made(Trajectory, double=True)), rel=1e-7)
    assert losses(made(Fast)) == losses(made(Fast))


def test_in_float32_each_step_is_that_of_the_plain_loop_from_the_same_state():
    plain, ours = made(Trajectory), made(Fast)
    blocks, our_blocks = iter(plain), iter(ours)
    for step in range(SMALL.iterations):
        if step % 5:
            next(blocks)
            continue
        ours.load_state_dict(copy.deepcopy(plain.state_dict()))
        block, ours_ = next(blocks), next(our_blocks)
        assert ours_.losses == pytest.approx(block.losses, rel=1e-5)
        assert ours_.average_losses == pytest.approx(block.average_losses, rel=1e-5)
        torch.testing.assert_close(ours_.outputs.tensor, block.outputs.tensor, rtol=1e-4, atol=1e-5)
        theirs, our = (torch.cat([p.grad.flatten() for p in t.f.parameters()]) for t in (plain, ours))
        assert (our - theirs).norm() < 0.01 * theirs.norm()


def test_it_draws_what_the_plain_loop_draws():
    plain, ours = made(Trajectory), made(Fast)
    assert torch.equal(plain.z, ours.z)
    next(iter(plain)), next(iter(ours))
    assert torch.equal(plain.generator.get_state(), ours.generator.get_state())


def test_a_seed_gives_the_same_numbers():
    assert losses(made(Fast)) == losses(made(Fast))


def test_it_resumes_from_a_saved_state_to_the_bit(tmp_path):
    first = made(Fast)
    seen = []
    for block in first:
        seen += block.losses
        if first.t == 13:
            torch.save(first.state_dict(), tmp_path / "state.pt")
    again = made(Fast)
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert losses(again) == seen[13:]


def test_weights_and_moments_stay_channels_last_also_after_a_resume():
    ours = made(Fast)
    blocks = iter(ours)
    next(blocks)
    ours.load_state_dict(copy.deepcopy(ours.state_dict()))
    next(blocks)
    wide = [p for p in ours.f.parameters() if p.ndim == 4 and p.shape[-1] > 1]
    assert len(wide) == 6
    for p in wide:
        for t in (p, *(t for t in ours.optimiser.state[p].values() if t.ndim == 4)):
            assert t.is_contiguous(memory_format=torch.channels_last)
            assert not t.is_contiguous()


def test_it_goes_back_to_a_good_state_as_the_plain_loop_does():
    ours = made(Fast)
    blocks = iter(ours)
    next(blocks)
    with torch.no_grad():
        ours.f[1].bias.fill_(math.nan)
    assert next(blocks).restored == (1,)
    assert math.isfinite(next(blocks).losses[0])


def test_on_a_cpu_nothing_is_left_out_and_nothing_compiled():
    ours = made(Fast, dataclasses.replace(SMALL, iterations=10**9))
    next(iter(ours))
    assert ours.notes == []
    assert ours.f._compiled_call_impl is None


# -- what fails is done without, and said


def test_a_network_that_cannot_be_compiled_is_taken_as_it_is(monkeypatch):
    class Broken(RuntimeError):
        pass

    def compile(self: nn.Module, **_: object) -> None:
        def call(*_: object) -> None:
            raise Broken("no compiler\nfound in the usual places") from Broken("CXX is not set\nreally")

        self._compiled_call_impl = call

    few = dataclasses.replace(SMALL, iterations=5)
    expected = losses(made(Fast, few))
    monkeypatch.setattr(nn.Module, "compile", compile)
    ours = made(Fast, few)
    ours._compiles = True  # as on a GPU
    assert losses(ours) == expected
    assert ours.notes == ["The network is not compiled, so it is slower: Broken: CXX is not set"]


def test_a_compiled_network_gives_the_same_losses_and_its_trial_leaves_no_trace(monkeypatch):
    few = dataclasses.replace(SMALL, iterations=5)
    expected = losses(made(Fast, few))
    compile = nn.Module.compile
    # traced, and not translated, which takes a minute
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: compile(self, backend="eager", fullgraph=True, **how))
    ours = made(Fast, few)
    ours._compiles = True
    assert losses(ours) == expected
    assert ours.notes == []
    assert ours.f._compiled_call_impl is not None


# -- its parts


@pytest.mark.skipif(sys.platform != "linux", reason="needs the C library of Linux")
def test_kept_memory_is_not_asked_for_twice():
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(12_000_000)  # 48 MB, more than the C library keeps by itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with kept_memory():
        # not at once: where an aligned piece lies, the next one does not always fit
        assert min(faults() for _ in range(5)) < 1000


# -- on a GPU


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_a_graph_is_replayed_and_follows_the_plain_loop():
    ours = made(Fast, device="cuda", double=True)
    assert losses(ours) == pytest.approx(losses(made(Trajectory, device="cuda", double=True)), rel=1e-7)
    assert ours.notes == []
    assert ours._graph is not None


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_cuda_a_seed_gives_the_same_numbers_and_so_does_a_resume(precision):
    settings = dataclasses.replace(SMALL, iterations=60, precision=precision)
    first = made(Fast, settings, device="cuda")
    seen = []
    for block in first:
        seen += block.losses
        if first.t == 20:
            state = loads(b"".join(dumps(first.state_dict())), "cuda")  # as a checkpoint
    assert losses(made(Fast, settings, device="cuda")) == seen
    again = made(Fast, settings, device="cuda")
    again.load_state_dict(state)
    assert losses(again) == seen[20:]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])])
def test_criteria_resume_on_the_device(device):
    def session() -> Session:
        columns = [Column(text, Problem(), Running(100)) for text in ("wmv[window=4]", "emv[burn_in=3]")]
        return Session("a unit", made(Fast, device=device), columns, lambda event: None)

    first = session()
    for _ in first:
        if first.step == 20:
            state = loads(b"".join(dumps(first.state_dict())), device)
    again = session()
    again.load_state_dict(state)
    for _ in again:
        pass
    assert [c.values[20:] for c in again.columns] == [c.values[20:] for c in first.columns]
    assert again.columns[0].best.device.type == device


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_the_frames_of_a_block_are_its_own():
    ours = made(Fast, device="cuda")
    blocks = iter(ours)
    first = next(blocks)
    before = first.outputs.tensor.clone()
    assert not torch.equal(before[-1], before[-2])
    next(blocks)
    assert torch.equal(first.outputs.tensor, before)


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_it_goes_back_to_a_good_state_and_captures_again():
    ours = made(Fast, dataclasses.replace(SMALL, iterations=200), device="cuda")
    blocks = iter(ours)
    next(blocks), next(blocks)
    graph = ours._graph
    with torch.no_grad():
        ours.f[1].bias.fill_(math.nan)
    assert next(blocks).restored
    assert all(map(math.isfinite, next(blocks).losses))
    assert ours._graph is not graph
    assert next(blocks).restored == ()


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_a_step_that_cannot_be_captured_is_made_without_a_graph():
    class Waiting(Denoise):
        def distance(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
            return super().distance(x, observation) + 0 * x.sum().item()  # a wait, which no graph can hold

    ours = made(Fast, device="cuda")
    ours.fit = dataclasses.replace(ours.fit, task=Waiting())
    assert len(losses(ours)) == SMALL.iterations
    assert len(ours.notes) == 1
    assert ours.notes[0].startswith("Steps are not captured as a graph, so they are slower: ")


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_a_compiled_network_gives_the_same_losses(monkeypatch):
    monkeypatch.setattr(fast, "COMPILE_FROM", 0)
    ours = made(Fast, device="cuda", double=True)
    got = losses(ours)
    assert ours.notes == []
    assert ours.f._compiled_call_impl is not None
    assert got == pytest.approx(losses(made(loop.Trajectory, device="cuda", double=True)), rel=1e-7)
