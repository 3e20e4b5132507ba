"""Perturbations for infidelity: functions to pass as `perturb_func` to `infidelity` and `optimal_explanation`.

They also work with Captum's `infidelity`. Set their options with `functools.partial`::

    infidelity(model, partial(square_removal, size=16), images, attributions, n_perturb_samples=500, target=0, seed=0)

Each takes copies of the inputs, a tensor or a tuple, and returns the perturbations `I` and the perturbed inputs
`x - I`. Leave `seed` at None: `infidelity` then passes a seed for each copy, so that a draw depends only on its
example. When you call the functions yourself, or with `captum.metrics.infidelity`, they follow `torch.manual_seed`.

Use `multiply_by_inputs` for attributions that contain the factor `x - b` (integrated gradients, Shapley values,
occlusion). The returned perturbation is then `I / (x - b)`, as in `infidelity_perturb_func_decorator`. Where features
are removed, it is 1 for the removed features and 0 for all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ._core.arguments import (
    Attributions,
    BaselinesType,
    FeatureMaskType,
    FrozenType,
    TensorOrTuple,
    Tensors,
    as_baselines,
    as_given,
    as_sequence,
    as_tuple,
)
from ._core.checks import check_count, check_flag, check_not_negative, describe
from ._core.devices import sent
from ._core.draws import SeedType, draw_seeds, generators, normal
from ._core.features import Features
from ._core.grids import positions
from ._core.sizes import as_sizes
from ._core.statistics import at_least_float32, difference, ratio

__all__ = ["gaussian", "noisy_baseline", "segment_removal", "square_removal"]

Pair = tuple[TensorOrTuple, TensorOrTuple]
F = TypeVar("F", bound=Callable[..., Any])


def gaussian(
    inputs: TensorOrTuple,
    baselines: BaselinesType = None,
    std: float = 0.1,
    multiply_by_inputs: bool = False,
    seed: SeedType = None,
) -> Pair:
    r"""Adds Gaussian noise to every element, :math:`I \sim \mathcal{N}(0, \sigma^2)`; suits gradients and similar maps.

    Args:
        std: the standard deviation, in the units of the inputs.
        seed: an int, or one per row; None follows `torch.manual_seed`.

    Example:
        >>> moved, perturbed = gaussian(torch.ones(2, 3), std=0.5, seed=0)
        >>> torch.equal(perturbed, 1 - moved)
        True
    """
    x, multiply_by_inputs = as_tuple(inputs), check_flag("multiply_by_inputs", multiply_by_inputs)
    noise = normal(_seeds(seed, x), x, 0.0, check_not_negative("std", std))
    perturbed = tuple(a - e for a, e in zip(x, noise))
    if multiply_by_inputs:
        noise = tuple(_per_distance(e, a, b) for e, a, b in zip(noise, x, as_baselines(baselines, inputs)))
    return as_given(noise, inputs), as_given(perturbed, inputs)


gaussian.is_gaussian = True  # type: ignore[attr-defined]  # `infidelity` may use what is known of its noise


def noisy_baseline(
    inputs: TensorOrTuple,
    baselines: BaselinesType = None,
    std: float = 0.1,
    multiply_by_inputs: bool = False,
    seed: SeedType = None,
) -> Pair:
    r"""Replaces the whole input by the baseline with Gaussian noise.

    .. math:: I = x - (b + \epsilon), \quad \epsilon \sim \mathcal{N}(0, \sigma^2)

    Args:
        baselines: Captum's forms. Default 0.
        std: the standard deviation of the noise, in the units of the inputs.
        seed: an int, or one per row; None follows `torch.manual_seed`.

    Example:
        >>> moved, perturbed = noisy_baseline(torch.ones(1, 3), baselines=0.25, std=0.0)
        >>> moved
        tensor([[0.7500, 0.7500, 0.7500]])
    """
    x, b = as_tuple(inputs), as_baselines(baselines, inputs)
    std, multiply_by_inputs = check_not_negative("std", std), check_flag("multiply_by_inputs", multiply_by_inputs)
    perturbed = tuple(e + c for e, c in zip(normal(_seeds(seed, x), x, 0.0, std), b))
    moved = tuple(a - p for a, p in zip(x, perturbed))
    if multiply_by_inputs:
        moved = tuple(_per_distance(m, a, c) for m, a, c in zip(moved, x, b))
    return as_given(moved, inputs), as_given(perturbed, inputs)


def n_squares(inputs: TensorOrTuple, size: int, **settings: Any) -> int:
    """Counts the places for a square of this size, in all tensors together."""
    check_count("size", size)
    return sum(math.prod(_corners(x, size)) for x in as_tuple(inputs))


def _counted_by(count: Callable[..., int]) -> Callable[[F], F]:
    """Lets `infidelity` count the different perturbations, so that it can use each of them once."""

    def decorator(function: F) -> F:
        function.positions = count  # type: ignore[attr-defined]
        return function

    return decorator


@_counted_by(n_squares)
def square_removal(
    inputs: TensorOrTuple,
    baselines: BaselinesType = None,
    *,
    size: int,
    multiply_by_inputs: bool = False,
    seed: SeedType = None,
    position: int | Sequence[int] | Tensor | None = None,
) -> Pair:
    r"""Replaces a square, in all channels, by the baseline: :math:`I = x - b` inside, and 0 elsewhere.

    The square has `size` positions along each spatial axis of `(B, C, ...)`, so it is a window of a series and a cube
    of a volume. All places are equally likely; for a tuple, it is a square of one of the tensors. If there are at most
    `n_perturb_samples` places, `infidelity` uses each place once and is exact.

    Args:
        baselines: Captum's forms. Default 0.
        size: the side of the square, in positions.
        seed: an int, or one per row; None follows `torch.manual_seed`.
        position: the number of a place to use instead of a random one, or one number per row. Places are counted row by
            row from the first corner.

    Example:
        >>> moved, perturbed = square_removal(torch.ones(1, 1, 2, 3), size=2, position=1)
        >>> perturbed
        tensor([[[[1., 0., 0.],
                  [1., 0., 0.]]]])
    """
    x, b = as_tuple(inputs), as_baselines(baselines, inputs)
    places = n_squares(inputs, size)
    if position is None:
        position = [int(torch.randint(places, (), generator=g, device="cpu")) for g in _generators(seed, x)]
    place = _as_places(position, places, len(x[0]))
    return _removed(_squares(x, size, place), x, b, inputs, multiply_by_inputs)


def _as_places(position: int | Sequence[int] | Tensor, places: int, rows: int) -> Tensor:
    """`[rows]`: the place of each row."""
    given, single = as_sequence("position", position)
    found = [check_count("position", p, least=0) for p in given]
    if not single and len(found) not in (1, rows):
        raise ValueError(f"`position` must be one number or one for each of the {rows} rows, got {len(found)}.")
    if max(found) >= places:
        raise ValueError(f"`position` must be from 0 to {places - 1}, the last place of a square, got {found}.")
    return torch.tensor(found, device="cpu").expand(rows)


def segment_removal(
    inputs: TensorOrTuple,
    baselines: BaselinesType = None,
    *,
    feature_mask: FeatureMaskType = None,
    n: float = 0.2,
    frozen: FrozenType = None,
    multiply_by_inputs: bool = False,
    seed: SeedType = None,
) -> Pair:
    r"""Replaces a random set of `n` features by the baseline: :math:`I = x - b` there, and 0 elsewhere.

    Args:
        baselines: Captum's forms. Default 0.
        feature_mask: its groups are the features; without a mask, each element is a feature. Pass the mask to
            `infidelity`, which makes it once and passes it on:
            ``infidelity(model, segment_removal, images, attributions, feature_mask=superpixels)``.
        n: the number of features, an int, or a float for a fraction of the example's features (rounded, at least 1).
        frozen: ids of `feature_mask` that are never removed.
        seed: an int, or one per row; None follows `torch.manual_seed`.

    Example:
        >>> moved, perturbed = segment_removal(torch.ones(1, 4), feature_mask=torch.tensor([[0, 0, 1, 1]]), n=1, seed=0)
        >>> perturbed
        tensor([[0., 0., 1., 1.]])
    """
    x = as_tuple(inputs)
    features = Features(inputs, Attributions(None, (x,)), None, feature_mask, frozen)
    sizes, one_size = as_sizes("n", n, features.counts)
    if not one_size:
        raise TypeError(f"`n` must be one number of features, got {describe(n)}.")
    removed = torch.zeros(len(x[0]), features.width, dtype=torch.bool, device="cpu")
    for row, count, size, g in zip(removed, features.counts.tolist(), sizes[:, 0].tolist(), _generators(seed, x)):
        row[torch.randperm(count, generator=g, device="cpu")[:size]] = True
    masks = tuple(features.spread(sent(removed, x[0].device), torch.arange(len(x[0]), device="cpu")))
    return _removed(masks, x, as_baselines(baselines, inputs), inputs, multiply_by_inputs)


def _seeds(seed: SeedType, x: Tensors) -> Tensor:
    return draw_seeds(seed, len(x[0]), 1)[:, 0]


def _generators(seed: SeedType, x: Tensors) -> Iterator[torch.Generator]:
    return generators(_seeds(seed, x).tolist())


def _per_distance(moved: Tensor, x: Tensor, baseline: float | Tensor) -> Tensor:
    """Divides a perturbation by the distance to the baseline, which may be too small for float16."""
    return ratio(at_least_float32(moved), at_least_float32(x) - baseline)


def _removed(
    masks: Tensors, x: Tensors, baselines: tuple[float | Tensor, ...], inputs: TensorOrTuple, multiply_by_inputs: bool
) -> Pair:
    """Returns perturbations and perturbed inputs, with the baselines at the places of the masks."""
    perturbed = tuple(torch.where(m, b, a) for m, b, a in zip(masks, baselines, x))
    if check_flag("multiply_by_inputs", multiply_by_inputs):
        moved = tuple(m.expand_as(a).to(a) for m, a in zip(masks, x))
    else:
        moved = tuple(map(difference, x, perturbed))
    return as_given(moved, inputs), as_given(perturbed, inputs)


def _corners(x: Tensor, size: int) -> tuple[int, ...]:
    """Returns the number of places for the corner of a square along each spatial axis."""
    if size > min(positions(x)):
        raise ValueError(f"`size` must be at most the shortest side of the inputs, {min(positions(x))}; got {size}.")
    return tuple(side - size + 1 for side in positions(x))


def _squares(x: Tensors, size: int, place: Tensor) -> Tensors:
    """Returns a mask `[rows, 1, ...]` for each tensor, with a square at each row's place.

    Places are numbered from one tensor to the next.
    """
    masks = []
    for t in x:
        corners = _corners(t, size)
        here = (place >= 0) & (place < math.prod(corners))
        masks.append(_square(t, size, torch.unravel_index(place.clamp(0, math.prod(corners) - 1), corners), here))
        place = place - math.prod(corners)
    return tuple(masks)


def _square(x: Tensor, size: int, corner: tuple[Tensor, ...], here: Tensor) -> Tensor:
    mask = sent(here, x.device).reshape(-1, *[1] * (x.dim() - 1))
    for axis, (first, side) in enumerate(zip(corner, positions(x)), 2):
        place = torch.arange(side, device=x.device) - sent(first, x.device)[:, None]  # [rows, side]
        inside = (place >= 0) & (place < size)
        mask = mask & inside.reshape(len(x), *[side if a == axis else 1 for a in range(1, x.dim())])
    return mask
