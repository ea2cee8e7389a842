from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch

from esbench import torch_state
from esbench.builtin.inputs.noise import UniformNoise
from esbench.builtin.losses.mse import mse
from esbench.builtin.networks.skip import skip
from esbench.builtin.tasks.denoise import Denoise
from esbench.engine import build
from esbench.engine.loop import RESTORES, Fit, Trajectory
from esbench.engine.settings import Settings
from esbench.errors import UnitError
from esbench.kinds import Task
from esbench.observation import Observation

SMALL = Settings(iterations=12, depth=4)


def network(seed: int = 0, channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    return skip(4, channels, channels=4, skips=2, scales=2)


def picture(channels: int = 3, device: str = "cpu") -> torch.Tensor:
    return torch.rand((1, channels, 10, 12), generator=torch.Generator().manual_seed(7)).to(device)


def begun(
    y: torch.Tensor, f: torch.nn.Module, settings: Settings = SMALL, seed: int = 0, task: Task | None = None
) -> Trajectory:
    """Return the plain optimisation of a picture (1, C, H, W), on the device of the network."""
    fit = Fit(task or Denoise(), Observation(y[0].permute(1, 2, 0).numpy()), mse)
    f.input_size = lambda h, w: (h, w)
    return build.begin(Trajectory, fit, f, UniformNoise(), settings, seed)


def trajectory(settings: Settings = SMALL, *, seed: int = 0, channels: int = 3, block: int | None = None) -> Trajectory:
    made = begun(picture(channels), network(channels=channels), settings, seed)
    made.block = block or made.block
    return made


def unrolled(made: Trajectory) -> tuple[list[float], torch.Tensor, torch.Tensor]:
    """Return the losses, the outputs and the averages of all steps."""
    blocks = list(made)
    assert [b.first for b in blocks] == [sum(map(len, blocks[:i])) for i in range(len(blocks))]
    return (
        [loss for b in blocks for loss in b.losses],
        torch.cat([b.outputs.tensor for b in blocks]),
        torch.cat([b.averages.tensor for b in blocks]),
    )


# -- what it computes


def test_the_losses_are_those_of_a_loop_written_by_hand():
    y, f = picture(), network()
    generator = torch.Generator().manual_seed(5)
    z = torch.rand((1, 4, 10, 12), generator=generator) * 0.1
    adam = torch.optim.Adam(f.parameters(), lr=0.01)
    losses, outputs = [], []
    for _ in range(10):
        perturbed = z + 1 / 30 * torch.empty_like(z).normal_(generator=generator)
        x = f(perturbed)
        loss = ((x - y) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
        outputs.append(x.detach())

    ours, x, _ = unrolled(trajectory(dataclasses.replace(SMALL, iterations=10), seed=5))
    assert ours == losses
    assert torch.equal(x, torch.cat(outputs))


def test_each_output_is_from_before_its_own_update():
    made = trajectory()
    f = copy.deepcopy(made.f)
    generator = torch.Generator().manual_seed(0)
    generator.set_state(made.generator.get_state())
    block = next(iter(made))
    with torch.no_grad():
        noise = torch.empty_like(made.z).normal_(generator=generator)
        before = f(made.z + SMALL.perturbation * noise)
    assert block.first == 0
    assert torch.equal(block.outputs.tensor, before)
    assert block.losses == [((before - picture()) ** 2).mean().item()]


def test_the_averages_follow_the_recursion_from_the_first_output():
    _, x, averages = unrolled(trajectory())
    assert torch.equal(averages[0], x[0])
    for t in range(1, len(x)):
        torch.testing.assert_close(averages[t], 0.99 * averages[t - 1] + 0.01 * x[t])


def test_the_losses_of_the_averages_come_with_them():
    made = trajectory()
    for block in made:
        for loss, average in zip(block.average_losses, block.averages.tensor, strict=True):
            assert loss == pytest.approx(((average - picture()[0]) ** 2).mean().item(), rel=1e-6)


@pytest.mark.parametrize("block", [2, 5, 50])
def test_blocks_of_several_steps_give_the_same_frames(block):
    losses, x, averages = unrolled(trajectory())
    made = trajectory(block=block)
    in_blocks = unrolled(made)
    assert in_blocks[0] == losses
    assert torch.equal(in_blocks[1], x)
    assert torch.equal(in_blocks[2], averages)
    assert made.t == SMALL.iterations


def test_the_last_block_ends_with_the_last_step():
    assert [len(block) for block in trajectory(block=5)] == [5, 5, 2]


def test_it_fits_the_picture():
    losses, _, _ = unrolled(trajectory(dataclasses.replace(SMALL, iterations=60)))
    assert losses[-1] < 0.9 * losses[0]


def test_a_grey_picture_is_one_channel_from_end_to_end():
    _, x, averages = unrolled(trajectory(channels=1))
    assert x.shape == averages.shape == (12, 1, 10, 12)


def test_bfloat16_gives_float32_outputs_near_those_of_float32():
    losses, _, _ = unrolled(trajectory())
    half, x, _ = unrolled(trajectory(dataclasses.replace(SMALL, precision="bfloat16")))
    assert x.dtype == torch.float32
    assert half != losses
    assert half[0] == pytest.approx(losses[0], rel=0.05)
    assert all(map(math.isfinite, half))


def test_bfloat16_within_the_autocast_of_a_caller_learns_all_the_same():
    half = dataclasses.replace(SMALL, precision="bfloat16")
    losses, *_ = unrolled(trajectory(half))
    with torch.autocast("cpu"):
        again, *_ = unrolled(trajectory(half))
    assert again == losses


# -- what it draws


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_z_is_uniform_up_to_the_input_scale_and_drawn_once(scale):
    made = begun(torch.rand(1, 3, 40, 50), network(), dataclasses.replace(SMALL, input_scale=scale))
    z = made.z.clone()
    assert z.shape == (1, 4, 40, 50)
    assert z.min() >= 0
    assert 0.99 * scale < z.max() <= scale
    assert z.mean() == pytest.approx(scale / 2, rel=0.05)
    next(iter(made))
    assert torch.equal(made.z, z)


def test_the_perturbation_is_fresh_gaussian_noise_of_its_standard_deviation():
    class Seen(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs: list[torch.Tensor] = []
            self.weight = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            self.inputs.append(z.detach())
            return self.weight * z[:, :3]

    f = Seen()
    made = begun(torch.rand(1, 3, 60, 60), f, dataclasses.replace(SMALL, iterations=2), 0)
    list(made)
    first, second = (z - made.z for z in f.inputs)
    assert not torch.equal(first, second)
    for noise in (first, second):
        assert noise.std().item() == pytest.approx(1 / 30, rel=0.03)
        assert noise.mean().item() == pytest.approx(0, abs=1e-3)
    assert (first * second).mean().item() == pytest.approx(0, abs=1e-4)


def test_without_perturbation_the_input_stays_z():
    made = trajectory(dataclasses.replace(SMALL, perturbation=0.0))
    f = copy.deepcopy(made.f)
    assert torch.equal(next(iter(made)).outputs.tensor, f(made.z).detach())


def test_a_seed_gives_the_same_numbers_and_another_seed_others():
    losses, x, _ = unrolled(trajectory(seed=3))
    again, y, _ = unrolled(trajectory(seed=3))
    assert losses == again
    assert torch.equal(x, y)
    assert unrolled(trajectory(seed=4))[0] != losses


def test_the_global_generator_is_neither_read_nor_moved():
    first = trajectory()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    losses, _, _ = unrolled(first)
    assert torch.equal(torch.get_rng_state(), before)
    second = trajectory()
    torch.manual_seed(2)
    assert unrolled(second)[0] == losses


# -- when it diverges


def spoil(f: torch.nn.Module, value: float) -> None:
    """Push the output's bias away: the picture becomes white, or NaN."""
    with torch.no_grad():
        f[1].bias.fill_(value)


def states(made: Trajectory) -> list[torch.Tensor]:
    """Return copies of all that an update changes: weights, buffers, moments."""
    moments = made.optimiser.state_dict()["state"].values()
    tensors = [*made.f.state_dict().values(), *(t for state in moments for t in state.values())]
    return [t.clone() for t in tensors]


@pytest.mark.parametrize("bad", [math.nan, 1e4])
def test_a_loss_that_leaps_or_is_lost_takes_everything_back_to_the_last_good_state(bad):
    # near to black, so that white is a fall of far more than 5 dB
    made = begun(picture() * 0.05, network(), dataclasses.replace(SMALL, iterations=400), 0)
    blocks = iter(made)
    for _ in range(103):
        block = next(blocks)
        if made.t == 100:
            good = states(made)  # what is kept, once step 100 has shown that it is good
    assert made.restored == []
    spoil(made.f, bad)
    assert next(blocks).restored == (103,)
    assert made.restored == [103]
    assert all(map(torch.equal, states(made), good))

    later = [next(blocks) for _ in range(5)]
    assert made.restored == [103]
    assert all(b.losses[0] < 1.5 * block.losses[0] for b in later)
    assert [b.first for b in later] == [104, 105, 106, 107, 108]


def test_before_the_first_state_was_kept_it_goes_back_to_the_beginning():
    made = trajectory()
    start, blocks = copy.deepcopy(made.f.state_dict()), iter(made)
    for _ in range(3):
        next(blocks)
    spoil(made.f, math.nan)
    next(blocks)
    assert all(map(torch.equal, made.f.state_dict().values(), start.values()))
    assert made.optimiser.state_dict()["state"] == {}


def test_a_state_that_led_to_a_bad_step_is_not_kept():
    made = trajectory(dataclasses.replace(SMALL, iterations=110))
    blocks = iter(made)
    for _ in range(100):
        next(blocks)
    spoil(made.f, math.nan)  # at the very step at which a state is due to be kept
    assert next(blocks).restored == (100,)
    assert all(map(math.isfinite, next(blocks).losses))
    assert list(blocks)[-1].restored == ()


def test_a_small_rise_of_the_loss_is_no_divergence():
    class Rising(Denoise):
        t = 0

        def distance(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
            self.t += 0.5  # asked twice a step
            return super().distance(x, observation) * 0 + 10 ** (0.049 * 10 * (self.t // 1 % 2))  # 4.9 dB up and down

    made = begun(picture(), network(), SMALL, task=Rising())
    list(made)
    assert made.restored == []


def test_the_average_restarts_where_it_was_lost():
    made = trajectory()
    blocks = iter(made)
    next(blocks)
    spoil(made.f, math.nan)
    assert next(blocks).averages.tensor.isnan().all()
    block = next(blocks)
    assert torch.equal(block.averages.tensor, block.outputs.tensor)


@pytest.mark.parametrize("at", [1, 5, 11])
def test_it_resumes_from_a_saved_state_to_the_bit(at, tmp_path):
    whole = unrolled(trajectory())
    first = trajectory(block=1)
    blocks = iter(first)
    for _ in range(at):
        next(blocks)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    for _ in blocks:  # what comes after must not reach what was saved
        pass

    again = trajectory(block=1)
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    rest = list(again)
    assert [b.losses[0] for b in rest] == whole[0][at:]
    assert torch.equal(torch.cat([b.outputs.tensor for b in rest]), whole[1][at:])
    assert torch.equal(torch.cat([b.averages.tensor for b in rest]), whole[2][at:])


def test_it_gives_up_after_ten_returns():
    class Hopeless(Denoise):
        def distance(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
            return super().distance(x, observation) * math.nan

    made = begun(picture(), network(), dataclasses.replace(SMALL, iterations=50), task=Hopeless())
    blocks = iter(made)
    for step in range(RESTORES):
        assert next(blocks).restored == (step,)
    with pytest.raises(UnitError, match=r"diverged 11 times, last at step 10 \(loss nan\); if they can be chosen"):
        next(blocks)
    assert RESTORES == 10


@pytest.mark.parametrize("how", ["older", "matmul", "cudnn", "all"])
def test_float32_is_float32_whichever_way_the_user_chose_less(how):
    def precision(*product: str) -> str:
        return torch._C._get_fp32_precision_getter(*product)

    products = ("cuda", "matmul"), ("cuda", "conv")
    with torch_state.same():  # the test leaves nothing behind
        if how == "older":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        elif how == "matmul":
            torch.backends.cuda.matmul.fp32_precision = "tf32"
        elif how == "cudnn":
            torch.backends.cudnn.fp32_precision = "tf32"
        else:
            torch.backends.fp32_precision = "tf32"
        before = [precision(*product) for product in products]
        with torch_state.plain():
            assert [precision(*product) for product in products] == ["ieee", "ieee"]
            assert torch.backends.cudnn.deterministic
            assert torch.get_float32_matmul_precision() == "highest"
        assert [precision(*product) for product in products] == before
        assert not torch.backends.cudnn.deterministic
        torch._C._set_fp32_precision_setter("generic", "all", "none")
        torch._C._set_fp32_precision_setter("cuda", "all", "none")


# -- on a GPU


def on_cuda(seed: int = 0, precision: str = "float32") -> Trajectory:
    settings = dataclasses.replace(SMALL, iterations=50, precision=precision)
    return begun(picture(), network().cuda(), settings, seed)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_cuda_a_seed_gives_the_same_numbers(precision):
    losses, x, _ = unrolled(on_cuda(precision=precision))
    again, y, _ = unrolled(on_cuda(precision=precision))
    assert losses == again
    assert torch.equal(x, y)
    assert unrolled(on_cuda(seed=1, precision=precision))[0] != losses


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_blocks_stay_on_the_device():
    block = next(iter(on_cuda()))
    assert len(block) > 1
    assert block.outputs.tensor.is_cuda
    assert block.averages.tensor.is_cuda


@pytest.mark.gpu
@needs_cuda
def test_cpu_and_cuda_agree_on_what_a_network_gives():
    made = trajectory(dataclasses.replace(SMALL, perturbation=0.0, iterations=5))
    there = begun(picture(), network().cuda(), made.settings)
    there.z = made.z.cuda()  # each device has a generator of its own
    there.block = 1
    losses, x, _ = unrolled(made)
    on_device, y, _ = unrolled(there)
    assert on_device == pytest.approx(losses, rel=1e-3)
    torch.testing.assert_close(y[0].cpu(), x[0], rtol=1e-4, atol=1e-5)
