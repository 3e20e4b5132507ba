from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from captum_ext.baselines import box_blur, channel_mean, gaussian_blur, gaussian_noise, uniform_noise
from captum_ext.metrics import deletion

from .oracles import differ

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mirrored(i, length):
    """The place inside of a place outside: mirrored at the first and the last, as often as it takes."""
    while length > 1 and not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i if length > 1 else 0


def naive_blur(x, weights):
    """Over `[B, C, H, W]`, pixel by pixel; the window of pixel `i` begins at `i - k // 2`."""
    k, out = len(weights), torch.zeros_like(x)
    height, width = x.shape[2:]
    for h in range(height):
        for w in range(width):
            for i, wi in enumerate(weights):
                for j, wj in enumerate(weights):
                    pixel = x[:, :, mirrored(h + i - k // 2, height), mirrored(w + j - k // 2, width)]
                    out[:, :, h, w] += wi * wj * pixel
    return out


@given(height=st.integers(1, 7), width=st.integers(1, 7), kernel_size=st.floats(0.05, 1))
def test_box_blur_is_the_mean_over_a_mirrored_window(height, width, kernel_size):
    x = normal(2, 2, height, width)
    k = max(int(kernel_size * width), 1)
    closely(box_blur(x, kernel_size), naive_blur(x, [1 / k] * k))


def test_a_window_taller_than_the_image_is_mirrored_more_than_once():
    x = normal(1, 1, 2, 9)
    closely(box_blur(x, 1.0), naive_blur(x, [1 / 9] * 9))


@given(size=st.integers(1, 8), sigma=st.floats(0.2, 9))
def test_gaussian_blur_weights_the_window_by_the_distance(size, sigma):
    x = normal(1, 2, 4, 5)
    weights = [math.exp(-((i - size // 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    closely(gaussian_blur(x, size, sigma), naive_blur(x, [v / sum(weights) for v in weights]))


def test_the_gaussian_window_is_that_of_rise_by_default():
    x = normal(1, 1, 12, 12)
    exactly(gaussian_blur(x), gaussian_blur(x, kernel_size=11, sigma=5))


@pytest.mark.parametrize("blur", [box_blur, gaussian_blur, channel_mean])
def test_what_is_constant_stays(blur):
    x = torch.tensor([2.0, -3.0]).double().reshape(1, 2, 1, 1).expand(1, 2, 6, 5)
    closely(blur(x), x)


def test_channel_mean_is_the_mean_over_the_positions_of_each_channel_of_each_example():
    x = normal(2, 3, 4, 5)
    mean = channel_mean(x)
    for b in range(2):
        for c in range(3):
            closely(mean[b, c], torch.full((4, 5), sum(x[b, c].flatten().tolist()) / 20, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 6, 7), (2, 1, 3, 4, 5)])
@pytest.mark.parametrize("make", [box_blur, gaussian_blur, channel_mean])
def test_series_images_and_volumes_keep_their_shape_and_examples_do_not_mix(make, shape):
    x = normal(*shape)
    whole = make(x)
    assert whole.shape == shape
    for b in range(2):
        closely(whole[b : b + 1], make(x[b : b + 1]))
        for c in range(shape[1]):
            closely(whole[b : b + 1, c : c + 1], make(x[b : b + 1, c : c + 1]))


MAKERS = {
    "box_blur": box_blur,
    "gaussian_blur": gaussian_blur,
    "channel_mean": channel_mean,
    "uniform_noise": partial(uniform_noise, seed=0),
    "gaussian_noise": partial(gaussian_noise, seed=0),
}
EACH = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@EACH
def test_a_tensor_gives_a_tensor_and_a_tuple_a_tuple(make):
    a, b = normal(2, 3, 4, 4), normal(2, 1, 5, seed=1)
    both = make((a, b))
    assert isinstance(both, tuple)
    assert [t.shape for t in both] == [a.shape, b.shape]
    exactly(both[0], make(a))
    exactly(make((a,))[0], make(a))


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_type_is_kept_and_the_inputs_are_left_as_they_were(make, dtype):
    x = normal(2, 3, 4, 4).to(dtype)
    before = x.clone()
    made = make(x)
    assert made.dtype == dtype
    exactly(x, before)
    if make not in (MAKERS["uniform_noise"], MAKERS["gaussian_noise"]):  # float64 draws other numbers
        assert_close(made.double(), make(x.double()), rtol=0, atol=0.05)


@EACH
def test_it_serves_as_the_baselines_of_a_metric(make, smooth):
    x, phi = normal(2, 2, 3, 3), normal(2, 1, 3, 3, seed=1)
    exactly(deletion(smooth, x, phi, baselines=make), deletion(smooth, x, phi, baselines=make(x)))


NOISE = {
    "uniform": (partial(uniform_noise, low=-1.0, high=2.0), stats.uniform(-1, 3)),
    "gaussian": (partial(gaussian_noise, mean=1.0, std=0.5), stats.norm(1, 0.5)),
}


@pytest.mark.parametrize(("make", "law"), NOISE.values(), ids=NOISE)
def test_noise_has_its_distribution(make, law):
    noise = make(torch.zeros(4, 3, 20, 20), seed=0)
    assert stats.kstest(noise.flatten().double(), law.cdf).pvalue > 0.001


@pytest.mark.parametrize("make", [uniform_noise, gaussian_noise])
def test_the_noise_of_an_example_is_its_own_whatever_the_batch(make):
    x = normal(4, 5)
    whole = make(x, seed=3)
    exactly(make(x[:2], seed=3), whole[:2])
    exactly(make(x + 1, seed=3), whole)
    assert len(whole.flatten().unique()) == 20
    seeds = [5, 6, 7, 8]
    exactly(make(x[[2, 0]], seed=[7, 5]), make(x, seed=seeds)[[2, 0]])


@pytest.mark.parametrize("make", [uniform_noise, gaussian_noise])
def test_without_a_seed_the_global_one_governs(make):
    x = normal(2, 5)
    torch.manual_seed(1)
    first, second = make(x), make(x)
    torch.manual_seed(1)
    exactly(make(x), first)
    assert differ(first, second).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(box_blur, kernel_size=0), "`kernel_size` must be a fraction of the width.*got 0"),
        (partial(box_blur, kernel_size=1.5), "`kernel_size` must be a fraction of the width.*got 1.5"),
        (partial(gaussian_blur, kernel_size=0), "`kernel_size` must be at least 1"),
        (partial(gaussian_blur, sigma=0), "`sigma` must be a number above 0"),
    ],
)
def test_a_wrong_setting_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make(normal(1, 1, 4, 4))


@pytest.mark.parametrize("make", [box_blur, gaussian_blur, channel_mean])
def test_inputs_without_positions_are_refused(make):
    with pytest.raises(ValueError, match=r"must have positions.*\(2, 3\)"):
        make(normal(2, 3))


@pytest.mark.parametrize("undefined", [math.nan, math.inf])
def test_an_undefined_value_has_an_effect_on_the_windows_it_is_in_alone(undefined):
    x = normal(1, 1, 40)
    x[0, 0, 20] = undefined
    found = box_blur(x, kernel_size=0.175)
    assert (~found.isfinite()).nonzero()[:, 2].tolist() == list(range(17, 24))
