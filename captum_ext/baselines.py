"""Functions of the inputs that make replacements for removed features, to pass as `baselines` to any metric.

Captum's methods take what they return as `baselines`. Set their options with `functools.partial`::

    deletion(model, images, attributions, baselines=partial(box_blur, kernel_size=0.25), target=0)

Each takes a tensor or a tuple and returns the same form, in its type and on its device. Means of integers are computed
as floating point numbers and then rounded. Noise is for floating point inputs only.

A fill may also depend on what is removed. It is then an object with a method `fill(inputs, mask)`, such as
`NoisyLinear()`, that returns copies of the rows `inputs`, filled in where `mask` is true. Metrics that remove features
take such an object; `infidelity` and Captum's methods do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._core.arguments import TensorOrTuple, as_given, as_tuple
from ._core.checks import check_count, check_finite, check_not_negative, check_number, check_positive, is_exact, shape
from ._core.draws import SeedType, draw_seeds, normal, uniform
from ._core.imputation import NoisyLinear as NoisyLinear
from ._core.references import Distribution
from ._core.statistics import at_least_float32, rounded, wide

__all__ = [
    "NoisyLinear",
    "box_blur",
    "channel_mean",
    "distribution",
    "gaussian_blur",
    "gaussian_noise",
    "uniform_noise",
]


def distribution(references: TensorOrTuple) -> Distribution:
    r"""Rows of a reference distribution, such as some examples of the training data: metrics average over them.

    .. math:: \frac1R \sum_{r=1}^R s(\phi; b_r)

    for the score `s` with the row `b_r` in place of every removed feature. A plain tensor keeps Captum's meaning: it
    has one row for all examples, or a row for each. In the removal family, the model is called once for the unperturbed
    examples, whatever the number of rows, and for everything else once a row. `metrics.with_stderr`, and
    `evaluate(stderr=True)`, give the standard error of the mean over the rows, with that of the metric's own draws.

    Args:
        references: `(R, ...)`, rows like an example; for several inputs a tuple of tensors, row by row together.

    Returns:
        What any metric of this package takes as `baselines`. A score is NaN where that of one row is. Captum's methods
        do not take it: give those that average over a distribution, such as `GradientShap`, the tensor itself.

    Raises:
        TypeError: `references` is no tensor, and no tuple of tensors.
        ValueError: it has no rows, or the tensors of a tuple differ in the number of rows.

    Reference: Lundberg and Lee 2017, arXiv:1705.07874, for the distribution in place of one baseline.

    Example:
        >>> from captum_ext.metrics import deletion
        >>> w, x = torch.tensor([1.0, 2.0]), torch.ones(1, 2)
        >>> deletion(lambda x: x @ w, x, w[None], distribution(torch.tensor([[0.0, 0.0], [1.0, 1.0]])), n_steps=3)
        tensor([2.1250])
    """
    return Distribution(references)


def channel_mean(inputs: TensorOrTuple) -> TensorOrTuple:
    """The mean over all positions of `(B, C, ...)`, for each channel of each example: the mean colour of an image.

    Example:
        >>> channel_mean(torch.tensor([[[1.0, 3.0], [0.0, 8.0]]]))
        tensor([[[2., 2.],
                 [4., 4.]]])
    """
    return _each(inputs, lambda x: x.mean(_spatial(x), keepdim=True).expand_as(x))


def box_blur(inputs: TensorOrTuple, kernel_size: float = 0.5) -> TensorOrTuple:
    """The mean over a window around each position of `(B, C, ...)`. Borders are mirrored without repeating the edge.

    Args:
        kernel_size: the side of the window, as a fraction of the last axis of the input (its width), as in AttriBench.

    Example:
        >>> box_blur(torch.tensor([[[0.0, 3.0, 6.0, 9.0]]]), kernel_size=0.75)
        tensor([[[2., 3., 6., 7.]]])
    """
    share = check_number(
        "kernel_size", kernel_size, "a fraction of the width, above 0 and at most 1", lambda v: 0 < v <= 1
    )

    def blur(x: Tensor) -> Tensor:
        size = max(int(share * x.shape[-1]), 1)
        return _along_each_axis(x, size, lambda padded, axis: _window_sums(padded, axis, size).div_(size))

    return _each(inputs, blur)


def gaussian_blur(inputs: TensorOrTuple, kernel_size: int = 11, sigma: float = 5.0) -> TensorOrTuple:
    """The Gaussian mean over a window around each position of `(B, C, ...)`. Borders are mirrored.

    The defaults are those of RISE (arXiv:1806.07421).

    Args:
        kernel_size: the side of the window, in positions.
        sigma: the standard deviation of the Gaussian, in positions.

    Example:
        >>> gaussian_blur(torch.ones(1, 1, 16, 16)).allclose(torch.ones(1, 1, 16, 16))
        True
    """
    size, sigma = check_count("kernel_size", kernel_size), check_positive("sigma", sigma)
    weights = torch.exp(-((torch.arange(size, dtype=torch.float64, device="cpu") - size // 2) ** 2) / (2 * sigma**2))
    shares: list[float] = (weights / weights.sum()).tolist()
    return _each(inputs, lambda x: _along_each_axis(x, size, lambda padded, axis: _weighted(padded, axis, shares)))


def uniform_noise(inputs: TensorOrTuple, low: float = 0.0, high: float = 1.0, seed: SeedType = None) -> TensorOrTuple:
    """Uniform noise from `low` to `high`, drawn for each example separately.

    Args:
        seed: an int, or one per example; None follows `torch.manual_seed`.

    Example:
        >>> noise = uniform_noise(torch.zeros(2, 3), seed=0)
        >>> torch.equal(noise, uniform_noise(torch.ones(2, 3), seed=0))
        True
    """
    x, low, high = as_tuple(inputs), check_finite("low", low), check_finite("high", high)
    return as_given(uniform(draw_seeds(seed, len(x[0]), 1)[:, 0], x, low, high), inputs)


def gaussian_noise(inputs: TensorOrTuple, mean: float = 0.0, std: float = 1.0, seed: SeedType = None) -> TensorOrTuple:
    """Gaussian noise, drawn for each example separately.

    Args:
        seed: an int, or one per example; None follows `torch.manual_seed`.

    Example:
        >>> gaussian_noise(torch.zeros(2, 3), mean=5.0, std=0.0)
        tensor([[5., 5., 5.],
                [5., 5., 5.]])
    """
    x, mean, std = as_tuple(inputs), check_finite("mean", mean), check_not_negative("std", std)
    return as_given(normal(draw_seeds(seed, len(x[0]), 1)[:, 0], x, mean, std), inputs)


def _each(inputs: TensorOrTuple, function: Callable[[Tensor], Tensor]) -> TensorOrTuple:
    return as_given(
        tuple(rounded(function(wide(x)), x) if is_exact(x) else function(x) for x in as_tuple(inputs)), inputs
    )


def _spatial(x: Tensor) -> list[int]:
    if x.dim() < 3:
        raise ValueError(f"`inputs` must have positions, shape (B, C, ...) with at least three axes; got {shape(x)}.")
    return list(range(2, x.dim()))


def _along_each_axis(x: Tensor, window: int, mean: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Means over windows along each spatial axis. The window of place i begins at i - window // 2."""
    means = at_least_float32(x)
    for axis in _spatial(x):
        means = mean(means.index_select(axis, _mirrored(x.shape[axis], window).to(x.device)), axis)
    return means.to(x)


def _weighted(x: Tensor, axis: int, weights: Sequence[float]) -> Tensor:
    """The weighted sum over each window, one place of the windows after the other, which needs no copy of them."""
    places = x.shape[axis] - len(weights) + 1
    sums = x.narrow(axis, 0, places) * weights[0]
    for start, weight in enumerate(weights[1:], 1):
        sums.add_(x.narrow(axis, start, places), alpha=weight)
    return sums


def _window_sums(x: Tensor, axis: int, window: int) -> Tensor:
    """The sum over each window, from those over its halves, so that the time hardly depends on its length.

    No value has an effect on windows that it is not in, as it would have on differences of running sums.
    """
    if window == 1:
        return x
    half, places = _window_sums(x, axis, window // 2), x.shape[axis] - window + 1
    sums = half.narrow(axis, 0, places) + half.narrow(axis, window // 2, places)
    return sums.add_(x.narrow(axis, window - 1, places)) if window % 2 else sums


def _mirrored(length: int, window: int) -> Tensor:
    """Returns the places that windows over `length` places cover, mirrored at the first and the last place."""
    places = torch.arange(-(window // 2), length + window - 1 - window // 2, device="cpu")
    period = max(2 * (length - 1), 1)
    places = places.abs() % period
    return torch.minimum(places, period - places) if length > 1 else torch.zeros_like(places)
