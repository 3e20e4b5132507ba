"""Pearson's correlation over all subsets of a size, by regression on sums whose covariances are known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._core.arguments import Tensors
from ..._core.devices import rows_at, sent
from ..._core.features import Features
from ..._core.forward import Forward, Rows
from ..._core.statistics import at_least_float32, ratio, to_unit

FEWEST_DRAWS = 5  # three numbers are fitted, and fewer draws leave their variance without a bound
COLLINEAR = 1e-10  # the smallest share of a square that is not taken for rounding


def linear_effects(x: Features, f: Forward, sizes: Tensor, sampled: Tensor, wanted_by: str) -> Tensor:
    """`[K, B, F]`: gradient times distance to the baseline of each feature, up to a factor for each size and example.

    The gradient is taken where the example has gone a share `n / F` of its way to the baseline, for the sizes `n`
    (`[B, K]`). Sizes that are not `sampled` have zeros, and so have models without a gradient.
    """
    effects = torch.zeros(sizes.shape[1], len(sizes), x.width, dtype=torch.float64, device=x.inputs[0].device)
    example, size = sampled.nonzero(as_tuple=True)
    if not len(example) or not any(t.is_floating_point() for t in x.inputs):
        return effects
    shares = (sizes.double() / x.counts[:, None])[example, size]
    found = [_sums(x, *part) for part in f.gradients(_partly_removed(x, f, example, shares), wanted_by)]
    effects[size.to(effects.device), example.to(effects.device)] = torch.cat(found).to(effects)
    return to_unit(effects)[0]


def _partly_removed(x: Features, f: Forward, example: Tensor, shares: Tensor) -> Iterator[Rows]:
    """Yields copies of the examples that have gone this share of the way to their baselines."""
    start = 0
    while start < len(example):
        rows = slice(start, start := start + f.batches.limit)
        distances, share = _distances(x, example[rows]), sent(shares[rows], x.inputs[0].device)
        yield tuple(_moved(rows_at(t, example[rows]), d, share) for t, d in zip(x.inputs, distances)), example[rows]


def _moved(rows: Tensor, distance: Tensor, share: Tensor) -> Tensor:
    """Integers stay where they are: there is nothing between them and the baseline."""
    share = share.reshape(-1, *[1] * (rows.dim() - 1))
    return (rows - share * distance).to(rows) if rows.is_floating_point() else rows


def _distances(x: Features, example: Tensor) -> Tensors:
    """Returns `x - b` for copies of the examples; 0 at frozen points."""
    everything = torch.ones(len(example), x.width, dtype=torch.bool, device=x.inputs[0].device)
    empty = x.without(everything, example)
    return tuple(at_least_float32(rows_at(t, example)) - at_least_float32(e) for t, e in zip(x.inputs, empty))


def _sums(x: Features, gradients: Tensors | None, example: Tensor) -> Tensor:
    """`[rows, F]`: gradient times distance, summed over each feature. Values that are not finite count as 0."""
    if gradients is None:
        return torch.zeros(len(example), x.width, device=x.inputs[0].device)
    effects = tuple(g * d for g, d in zip(gradients, _distances(x, example)))
    return x.sums(tuple(torch.nan_to_num(e, 0, 0, 0) for e in effects), example)


@dataclass(frozen=True)
class Sums:
    """What is known of sums over subsets of `sizes [B, K]` of the `counts [B]` features: each feature's value
    (`[..., B, F]`), and the sums at the draws (`[..., B, K, draws]`).
    """

    sizes: Tensor
    counts: Tensor
    phi: Tensor  # [methods, B, F]
    of_phi: Tensor  # [methods, B, K, draws]
    effects: Tensor  # [K, B, F]
    of_effects: Tensor  # [B, K, draws]

    @property
    def variance(self) -> Tensor:
        """`[B, K]`: that of a sum of values that have mean 0 and length 1."""
        n, f = self.sizes.double(), self.counts[:, None].double()
        return (n * (f - n) / (f * (f - 1).clamp(min=1))).to(self.of_phi.device)

    def uncorrelated(self) -> tuple[Tensor, Tensor]:
        """`[methods, B, K, draws]` twice: sums of the attributions, and of what is left of the effects.

        Both are sums of values of length 1 around their mean, and have no covariance over all subsets. Effects that are
        a multiple of the attributions leave nothing: 0.
        """
        phi, unit = to_unit(self.phi)
        a, g = self._centred(phi), self._centred(self.effects)
        aa, gg = (a * a).sum(-1)[..., None], (g * g).sum(-1).T
        ag = torch.einsum("mbf,kbf->mbk", a, g)
        rest = gg - ratio(ag**2, aa)
        of_phi = self.of_phi / unit[..., None]
        left = self.of_effects - ratio(ag, aa)[..., None] * of_phi
        left = (left / rest.clamp(min=0).sqrt()[..., None]).where((rest > COLLINEAR * gg)[..., None], 0)
        return of_phi / aa.sqrt()[..., None], left

    def _centred(self, values: Tensor) -> Tensor:
        number = torch.arange(values.shape[-1], device=values.device)
        return _centred(values, number < self.counts.to(values.device)[:, None])


def regression(sums: Sums, drops: Tensor, where: Tensor) -> Tensor:
    """`[methods, B, K]`: Pearson's correlation, over all subsets, of the attribution's sum and the drop.

    The `drops [B, K, draws]` are known at the draws `where`. They are regressed on sums of variance `c` that have no
    covariance, so with the coefficients `b` and the variance `s` of the residuals, the covariance of the drops with the
    first, of standard deviation `c ** 0.5`, is `c b[0]`, and their own variance `c (b[0] ** 2 + b[1] ** 2) + s`.
    """
    n, c = where.sum(-1), sums.variance
    d = _centred(to_unit(drops.masked_fill(~where, 0))[0], where)
    u, v = (_centred(part, where) for part in sums.uncorrelated())
    uu, uv, vv, ud, vd = ((a * b).sum(-1) for a, b in ((u, u), (u, v), (v, v), (u, d), (v, d)))
    both = (determinant := uu * vv - uv**2) > COLLINEAR * uu * vv
    second = ((uu * vd - uv * ud) / determinant).where(both, 0)
    first = (ud - uv * second) / uu
    residuals = d - first[..., None] * u - second[..., None] * v
    variance = (residuals**2).sum(-1) / (n - 2 - both.int())
    return c.sqrt() * first / (c * (first**2 + second**2) + variance).sqrt()


def _centred(values: Tensor, where: Tensor) -> Tensor:
    """Subtracts the mean over the last axis' places `where`; the others are 0."""
    values = values.masked_fill(~where, 0)
    return (values - (values.sum(-1) / where.sum(-1))[..., None]).masked_fill(~where, 0)
