"""Noisy linear imputation (Rong et al. 2022): each removed position becomes the weighted mean of its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .checks import check_count, check_not_negative, shape
from .draws import draw_seeds, normal
from .home import in_float64
from .statistics import rounded, wide


@dataclass(frozen=True)
class NoisyLinear:
    """Fills in removed positions of images `(B, C, H, W)`: `baselines` for every metric that removes features.

    A removed position becomes the weighted mean of its eight neighbours in the same channel. Adjacent neighbours have
    weight 1/6 and diagonal ones 1/12; at the borders the weights are scaled to add up to 1. Where neighbours are
    removed too, this gives a system of linear equations, which is solved on the device of the images (on the CPU, with
    SciPy). Noise is then added, so that imputed positions do not stand out as smooth. An image with every position
    removed becomes noise alone.

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
        solve = solved_directly if inputs.device.type == "cpu" else solved_by_iteration
        filled = rounded(solve(wide(inputs), mask), inputs)
        if noise > 0:
            filled = filled + normal(seeds, (inputs,), 0.0, noise)[0]
        return torch.where(mask, filled, inputs)


# Both functions solve `weights * v - neighbours(v) = neighbours(x)` at the places of the mask. The equation of each
# place is multiplied by the total weight of its neighbours inside the image, which makes the system symmetric.


def solved_directly(x: Tensor, mask: Tensor) -> Tensor:
    """`[B, C, H, W]`: solved by a sparse factorisation per image, or per channel where the masks of channels differ."""
    known, values = _neighbours(x.masked_fill(mask, 0)), torch.zeros_like(x)
    for v, b, m in zip(values, known, mask):
        channels = [slice(None)] if (m == m[:1]).all() else [slice(c, c + 1) for c in range(len(m))]
        for c in channels:
            removed = m[c][0]
            if removed.any() and not removed.all():
                v[c, removed] = torch.from_numpy(_factorised(removed)(b[c, removed].T.contiguous().numpy())).T
    return values


def _factorised(removed: Tensor) -> Callable[[Any], Any]:
    """Returns a solver of the system of a mask `[H, W]`, for right-hand sides `[places, channels]`."""
    from scipy.sparse import csc_matrix  # slow to import
    from scipy.sparse.linalg import splu

    number = torch.full(removed.shape, -1, device="cpu")
    number[removed] = torch.arange(int(removed.sum()), device="cpu")
    around = pad(number, (1, 1, 1, 1), value=-1)
    height, width = removed.shape
    rows, columns = [number[removed]], [number[removed]]
    entries = [_neighbours(torch.ones(removed.shape, device="cpu").double())[removed]]
    for down, right in (d for d in itertools.product((0, 1, 2), repeat=2) if d != (1, 1)):
        other = around[down : down + height, right : right + width][removed]
        rows.append(number[removed][other >= 0])
        columns.append(other[other >= 0])
        entries.append(
            torch.full(
                (len(columns[-1]),), -1 / 6 if 1 in (down, right) else -1 / 12, dtype=torch.float64, device="cpu"
            )
        )
    places = (torch.cat(rows).numpy(), torch.cat(columns).numpy())
    matrix = csc_matrix((torch.cat(entries).numpy(), places))
    solve: Callable[[Any], Any] = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
    return solve


def solved_by_iteration(x: Tensor, mask: Tensor) -> Tensor:
    """`[B, C, H, W]`: solved by conjugate gradients, separately for each image and channel."""
    weights = _neighbours(torch.ones_like(x[:1, :1]))
    known = _neighbours(x.masked_fill(mask, 0)).masked_fill(~mask, 0)
    enough = (1e-10 if x.dtype == torch.float64 else 1e-5) * _norm(known)
    solution, residual = torch.zeros_like(x), known
    direction, size = residual / weights, _dot(residual, residual / weights)
    for step in range(x.shape[-1] * x.shape[-2]):
        going = _norm(residual) > enough  # decided per channel, so that no image depends on others
        if step % 8 == 0 and not going.any():
            break
        image = (weights * direction - _neighbours(direction)).masked_fill(~mask, 0)
        length = torch.where(going, size / _dot(direction, image), 0)
        solution, residual = solution + length * direction, residual - length * image
        before, size = size, torch.where(going, _dot(residual, residual / weights), size)
        direction = torch.where(going, residual / weights + size / before * direction, direction)
    return solution


def _neighbours(x: Tensor) -> Tensor:
    """Sums the eight neighbours inside the image, with weight 1/6 for adjacent and 1/12 for diagonal ones."""
    rows = pad(x, (0, 0, 1, 1))
    sums = rows[..., :-2, :] + 2 * x + rows[..., 2:, :]
    columns = pad(sums, (1, 1))
    return (columns[..., :-2] + 2 * sums + columns[..., 2:] - 4 * x) / 12


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)


def _norm(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()
