import numpy as np
import pytest
import torch
from esbench import Stopper
from esbench.testing import check_criterion

from esbench_selfval.criterion import CODE, Autoencoder, SelfValidation


class Output:
    def __init__(self, tensor):
        self.tensor = tensor


def outputs(n, noise=0.02, size=(3, 16, 20)):
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(size, generator=generator)
    return [Output((picture + noise * torch.randn(size, generator=generator)).clamp(0, 1)) for _ in range(n)]


@pytest.mark.parametrize("text", ["selfval[every=4,window=4]", "selfval[every=8,faithful=false,side=16,window=4]"])
def test_it_passes_the_conformance_kit(text):
    assert [str(finding) for finding in check_criterion(text) if finding.status == "failed"] == []


def test_the_autoencoder_of_the_paper_has_its_number_of_weights_and_a_code_of_16():
    f = Autoencoder(512)
    count = [sum(p.numel() for p in part.parameters()) for part in (f.encoder, f.latent, f.decoder)]
    assert count == [537762, 1024, 537766]
    assert sum(count) == 1076552


@pytest.mark.parametrize("side", [8, 16, 64])
def test_at_any_side_the_code_is_4_by_4_and_the_output_has_the_side(side):
    f, x = Autoencoder(side), torch.rand(2, 3, side, side)
    assert f.encoder(x).shape == (2, 1, CODE, CODE)
    assert f(x).shape == x.shape


@pytest.mark.parametrize(("size", "side"), [((3, 16, 20), 16), ((1, 33, 70), 32), ((3, 5, 9), 8), ((3, 520, 600), 512)])
def test_the_side_is_the_power_of_two_that_fits_and_512_at_most(size, side):
    criterion = SelfValidation()
    criterion.update(Output(torch.zeros(size)))
    assert criterion.side == side
    assert criterion.outputs[0].shape == (3, side, side)


def test_the_first_value_comes_with_the_window_and_from_an_untrained_network():
    criterion = SelfValidation(window=3)
    values = [criterion.update(x).value for x in outputs(4)]
    assert values[:2] == [None, None]
    assert values[2] is not None
    other = SelfValidation(window=3, faithful=False)
    assert [v is None for v in (other.update(x).value for x in outputs(4))] == [True, True, True, False]


def test_a_value_is_the_plain_norm_or_with_faithful_off_that_per_element():
    def second(**parameters):
        criterion = SelfValidation(window=2, **parameters)
        return [criterion.update(x).value for x in outputs(3)][2]

    # both have learned once, from a new optimiser
    assert second(faithful=False) == pytest.approx(second(faithful=True) / np.sqrt(3 * 16 * 16))


def test_it_learns_outputs_that_stay_alike():
    ramp = torch.linspace(0, 1, 16).expand(3, 16, 16)
    criterion = SelfValidation(window=8)
    values = [criterion.update(Output(ramp)).value for _ in range(80)]
    assert values[-1] < 0.7 * values[7]


def test_the_global_generator_is_left_alone_and_the_seed_decides():
    def values(seed):
        criterion = SelfValidation(window=2, seed=seed)
        return [criterion.update(x).value for x in outputs(4)]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert values(0) == values(0) != values(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_side_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two, because it is halved down to 4, got 24"):
        SelfValidation(side=24)


def test_it_works_in_a_loop_of_ones_own_on_numpy_pictures():
    stopper = Stopper("selfval[every=1,window=4]", patience=5)
    rng = np.random.default_rng(0)
    picture = rng.random((16, 16, 3), dtype=np.float32)
    for _ in range(60):
        if stopper.update(picture + 0.05 * rng.standard_normal(picture.shape).astype(np.float32)):
            break
    assert stopper.best.value is not None
