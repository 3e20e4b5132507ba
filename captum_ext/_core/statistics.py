"""Statistics over the last axis. Each says what it returns where the statistic is undefined."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """In the type that statistics are accumulated in: float64, or float32 where a device has no float64."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def score_type(*parts: torch.dtype) -> torch.dtype:
    """The type of scores made of attributions or explanations and outputs of these types: their promotion, at least float32."""
    return functools.reduce(torch.promote_types, parts, torch.float32)


def summable(values: Tensor) -> Tensor:
    """Rounded to a grid on which no sum over the last axis rounds: sums are the same in any order, so in any batch and on any device.

    The grid is as fine as the type allows for the sum of the absolute values, so a sum is off by no more than its own rounding.
    """
    values = wide(values)
    _, exponent = values.abs().sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny * 2**53).frexp()
    grid = torch.ldexp(torch.ones_like(values[..., :1]), exponent - (52 if values.dtype == torch.float64 else 23))
    return (values / grid).round() * grid


def sum_of_parts(function: Callable[..., Tensor], *tensors: Tensor, size: int = 2**14) -> Tensor:
    """The sum of a function of parts of the last axis, in the type of statistics: so nothing wide is large."""
    parts = zip(*(t.split(size, -1) for t in tensors))
    return functools.reduce(Tensor.add, (function(*map(wide, part)) for part in parts))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient; a denominator of exactly 0 counts as 1, as in Captum."""
    return numerator / torch.where(denominator == 0, torch.ones_like(denominator), denominator)


def norm(vectors: Tensor, order: float = 2.0) -> Tensor:
    """`[rows]`: the length of each row, in the type of statistics."""
    return torch.linalg.vector_norm(vectors, ord=order, dim=1, dtype=wide(vectors[:0]).dtype)


def pearson(a: Tensor, b: Tensor, where: Tensor, resolution_a: Tensor, resolution_b: Tensor) -> Tensor:
    """Pearson correlation over the places `where`; nan where a side is constant.

    Constant: its standard deviation is no more than its resolution, the rounding of the numbers it was computed from.
    """
    n = where.sum(-1)
    a, b = _centred(a, where, n), _centred(b, where, n)
    var_a, var_b = (a * a).sum(-1), (b * b).sum(-1)
    r = (a * b).sum(-1) / (var_a * var_b).sqrt()
    constant = (var_a <= n * resolution_a**2) | (var_b <= n * resolution_b**2)
    return r.clamp(-1, 1).masked_fill(constant, torch.nan)


def spearman(a: Tensor, b: Tensor, where: Tensor, resolution_a: Tensor, resolution_b: Tensor) -> Tensor:
    """Spearman's rank correlation, ties sharing their mean rank; nan where a side is constant (as in `pearson`) or has a nan."""
    values = pearson(a, b, where, resolution_a, resolution_b)
    zero = torch.zeros_like(resolution_a), torch.zeros_like(resolution_b)
    return torch.where(values.isnan(), values, pearson(mean_ranks(a, where), mean_ranks(b, where), where, *zero))


def mean_ranks(values: Tensor, where: Tensor) -> Tensor:
    """Ranks from 0 over the places `where`, equal values sharing the mean of theirs."""
    values = values.masked_fill(~where, torch.inf).contiguous()
    in_order = values.sort(-1).values
    below, up_to = (torch.searchsorted(in_order, values, right=right) for right in (False, True))
    up_to = torch.minimum(up_to, where.sum(-1, keepdim=True))  # an infinite value is not tied with the other places
    return wide(below + up_to - 1) / 2


def _centred(values: Tensor, where: Tensor, n: Tensor) -> Tensor:
    values = values.masked_fill(~where, 0)
    return (values - (values.sum(-1) / n)[..., None]).masked_fill(~where, 0)


CORRELATIONS = {"pearson": pearson, "spearman": spearman}


def area(curve: Tensor, fractions: Tensor) -> Tensor:
    """The area under a curve by the trapezoid rule, divided by the range of the fractions: on the scale of the curve."""
    return torch.trapezoid(curve, fractions) / (fractions[-1] - fractions[0])


def rounding_of_sums(values: Tensor) -> Tensor:
    """`[..., 1]`: what a sum of these values may be off by in float64."""
    return torch.finfo(torch.float64).eps * sum_of_parts(lambda part: part.abs().sum(-1, keepdim=True), values)


def rounding_of_outputs(outputs: Tensor, dtype: torch.dtype) -> Tensor:
    """What a model's outputs may differ by where nothing does, as batches of other sizes add up in another order: a unit in the last place of the
    largest, in the type that it gave them in, or 16 in the type that sums are accumulated in. 0 for integers.
    """
    if not dtype.is_floating_point:
        return torch.zeros_like(outputs[..., 0])
    accumulated = torch.float64 if dtype == torch.float64 else torch.float32
    return max(torch.finfo(dtype).eps, 16 * torch.finfo(accumulated).eps) * outputs.abs().amax(-1)
