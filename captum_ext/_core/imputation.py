"""Noisy linear imputation (Rong et al. 2022): each removed position becomes the weighted mean of its neighbours."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .checks import check_count, check_not_negative, shape
from .draws import draw_seeds, normal
from .home import in_float64
from .statistics import rounded, wide


@dataclass(frozen=True)
class NoisyLinear:
    """Fills in removed positions of images `(B, C, H, W)`: `baselines` for every metric that removes features.

    A removed position becomes the weighted mean of its eight neighbours in the same channel. Adjacent neighbours have
    weight 1/6 and diagonal ones 1/12; at the borders the weights are scaled to add up to 1. Where neighbours are
    removed too, this gives a system of linear equations, which is solved on the device of the images, with an error of
    about 1e-7 of their values, or 1e-10 in float64 and integers. Noise is then added, so that imputed positions do not
    stand out as smooth. An image with every position removed becomes noise alone.

    Args:
        noise: the standard deviation of the noise, on the scale of the images.
        seed: the seed of the noise. All images get the same noise, so it is also the same at every step of a curve.

    Reference: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    arXiv:2202.00449.

    Example:
        >>> image, removed = torch.arange(5.0).expand(1, 1, 3, 5), torch.zeros(1, 1, 3, 5, dtype=torch.bool)
        >>> removed[..., 1, 2] = True
        >>> NoisyLinear(noise=0.0).fill(image, removed)[0, 0, 1]
        tensor([0., 1., 2., 3., 4.])
    """

    noise: float = 0.01
    seed: int = 0

    @in_float64
    def fill(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Returns copies of `inputs`, filled in where `mask` is true."""
        if inputs.dim() != 4:
            raise ValueError(f"`baselines=NoisyLinear()` fills in images (B, C, H, W), got `inputs` {shape(inputs)}.")
        noise = check_not_negative("noise", self.noise)
        seeds = draw_seeds(check_count("seed", self.seed, least=0), 1, 1)[0]
        mask = mask.expand_as(inputs)
        filled = torch.empty_like(inputs)
        for out, x, m in zip(*(t.split(_at_a_time(inputs[0])) for t in (filled, inputs, mask))):
            out.copy_(_filled(x, m))
        if noise > 0:
            filled += normal(seeds, (inputs,), 0.0, noise)[0]
        return torch.where(mask, filled, inputs, out=filled)


def _filled(x: Tensor, mask: Tensor) -> Tensor:
    rounds = x.is_floating_point() and x.dtype != torch.float64
    return rounded(solved(wide(x), mask, tolerance=1e-9 if rounds else 1e-12), x)


# The equation of each removed place is `weights * v - neighbours(v) = neighbours(x)`, with weight 2 for each adjacent
# neighbour inside the image and 1 for each diagonal one. They are solved by conjugate gradients, in which one multigrid
# cycle stands for the inverse, so that the number of steps hardly depends on the size of the image.

PLACES = {"cpu": 2**18}  # solved at a time, so that they stay in the processor's cache
MORE_PLACES = 2**24  # on other devices
OF_COARSEST = 8  # sweeps over the coarsest grid


def _at_a_time(one: Tensor) -> int:
    """How many of such images, or of their channels, are solved at a time."""
    return max(PLACES.get(one.device.type, MORE_PLACES) // one.numel(), 1)


@torch.no_grad()
def solved(x: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    """`[B, C, H, W]`: each image and channel by itself, with an error of about `tolerance` times its norm."""
    images, masks = (t.flatten(0, 1)[:, None].split(_at_a_time(x[0, 0])) for t in (x, mask))
    return torch.cat([_conjugate_gradients(x, m, tolerance) for x, m in zip(images, masks)]).reshape(x.shape)


def _conjugate_gradients(x: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    """`[rows, 1, H, W]`: each row takes its own steps, so it does not depend on others; nan where they do not end."""
    system, grids = _Grid(_weights(x), mask.to(x)), _grids(mask)
    residual = _neighbours(x.masked_fill(mask, 0)).mul_(system.places)
    solution, direction, size = torch.zeros_like(x), torch.zeros_like(x), torch.ones_like(x[..., :1, :1])
    for _ in range(200 + x.shape[-2] + x.shape[-1]):
        error = _nearly_solved(grids, residual.float()).to(x)
        going = _norm(error) > tolerance * _norm(solution)
        if not going.any():
            break
        size, before = _dot(residual, error), size
        direction = error.addcmul_(torch.where(going, size / before, 0), direction)
        image = system.image(direction)
        length = torch.where(going, size / _dot(direction, image), 0)
        solution.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)
    return solution.masked_fill(~(_norm(error) <= tolerance * _norm(solution)), torch.nan)


@dataclass(frozen=True)
class _Grid:
    """The system `diagonal * v - neighbours(v) = right`, for the places where `places` is 1 and not 0."""

    diagonal: Tensor
    places: Tensor

    @functools.cached_property
    def inverse(self) -> Tensor:
        return torch.where(self.diagonal > 0, self.places / self.diagonal, 0)

    def image(self, v: Tensor) -> Tensor:
        return _neighbours(v).neg_().addcmul_(self.diagonal, v).mul_(self.places)

    def residual(self, v: Tensor, right: Tensor) -> Tensor:
        return _neighbours(v).add_(right).addcmul_(self.diagonal, v, value=-1).mul_(self.places)

    def improved(self, v: Tensor, right: Tensor) -> Tensor:
        return torch.addcmul(v, self.inverse, self.residual(v, right))


def _grids(mask: Tensor) -> list[_Grid]:
    """The grid of the image, and ever coarser ones, on which known places pull the solution to 0."""
    pull = 12 * (~mask).float()
    grids = [_Grid(_weights(pull), mask.float())]
    while min(pull.shape[-2:]) > 1:
        pull = pad(pull, (0, pull.shape[-1] % 2, 0, pull.shape[-2] % 2))
        pull = pull.unflatten(-1, (-1, 2)).sum(-1).unflatten(-2, (-1, 2)).sum(-2)
        grids.append(_Grid(_weights(pull) + pull, torch.ones_like(pull[:1, :, :1, :1])))
    return grids


def _weights(like: Tensor) -> Tensor:
    return _neighbours(torch.ones_like(like[:1]))


def _nearly_solved(grids: list[_Grid], right: Tensor) -> Tensor:
    """One multigrid cycle, a symmetric approximation of the inverse: smooth errors are removed on coarser grids."""
    grid, *coarser = grids
    v = grid.inverse * right
    if not coarser:
        return functools.reduce(lambda v, _: grid.improved(v, right), range(OF_COARSEST), v)
    correction = _nearly_solved(coarser, _coarser(grid.residual(v, right)))
    return grid.improved(v.addcmul_(grid.places, _finer(correction, v)), right)


def _finer(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear")[..., : like.shape[-2], : like.shape[-1]]


def _coarser(x: Tensor) -> Tensor:
    """The transpose of `_finer`."""
    x = pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    x = torch.cat((x[..., :1, :], x, x[..., -1:, :]), -2)
    x = (x[..., :-2:2, :] + x[..., 3::2, :]).add_(x[..., 1:-1:2, :] + x[..., 2::2, :], alpha=3)
    x = torch.cat((x[..., :1], x, x[..., -1:]), -1)
    return (x[..., :-2:2] + x[..., 3::2]).add_(x[..., 1:-1:2] + x[..., 2::2], alpha=3).div_(16)


def _neighbours(x: Tensor) -> Tensor:
    """Sums the eight neighbours inside the image, with weight 2 for adjacent and 1 for diagonal ones."""
    x = pad(x, (1, 1, 1, 1))
    rows = (x[..., :-2, :] + x[..., 2:, :]).add_(x[..., 1:-1, :], alpha=2)
    sums = (rows[..., :-2] + rows[..., 2:]).add_(rows[..., 1:-1], alpha=2)
    return sums.sub_(x[..., 1:-1, 1:-1], alpha=4)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums lines first, which gives the same bits for one row and for many."""
    return (a * b).sum(-1, keepdim=True).sum(-2, keepdim=True)


def _norm(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()
