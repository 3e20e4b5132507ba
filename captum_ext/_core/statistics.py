"""Statistics over the last axis. Each says what it returns where it is undefined."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import home
from .checks import is_exact


def wide(tensor: Tensor) -> Tensor:
    """Converts to the type in which statistics are computed: float64, or float32 on devices without float64."""
    return tensor.to(torch.float32 if tensor.device.type in home.LACK_FLOAT64 else torch.float64)


def rounded(values: Tensor, like: Tensor) -> Tensor:
    """Converts to the type of another tensor, to the nearest integers where that is an integer type."""
    return (values.round() if is_exact(like) else values).to(like)


def score_type(*parts: torch.dtype) -> torch.dtype:
    """Returns the type of scores made from parts of these types (attributions or explanations, and model outputs).

    It is the type that they promote to, and at least float32.
    """
    return functools.reduce(torch.promote_types, parts, torch.float32)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Converts smaller types, in which differences and ratios may overflow, and integers to the type of statistics."""
    return wide(tensor) if is_exact(tensor) else tensor.to(score_type(tensor.dtype))


def to_unit(values: Tensor) -> tuple[Tensor, Tensor]:
    """Divides by a power of two, which rounds nothing, so that the largest absolute value over the last axis is near 1.

    Squares then neither overflow nor vanish. Returns the values in the type of statistics, and the power `[..., 1]`.
    """
    values = wide(values)
    largest = values.abs().amax(-1, keepdim=True)
    _, exponent = largest.where(largest.isfinite(), 1).frexp()
    power = torch.ldexp(torch.ones_like(largest), exponent - 1)
    return values / power, power


def summable(values: Tensor) -> Tensor:
    """Rounds values to a grid on which sums over the last axis are exact.

    So a sum is the same in any order, hence in any batch and on any device. The grid is as fine as the type allows for
    the sum of the absolute values, so a sum is off by no more than its own rounding.
    """
    values = wide(values)
    _, exponent = values.abs().sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny * 2**53).frexp()
    grid = torch.ldexp(torch.ones_like(values[..., :1]), exponent - (52 if values.dtype == torch.float64 else 23))
    return (values / grid).round() * grid


def sum_of_parts(function: Callable[..., Tensor], *tensors: Tensor, size: int = 2**14) -> Tensor:
    """Sums a function over parts of the last axis, so that only a small part is in the wide type at a time."""
    parts = zip(*(t.split(size, -1) for t in tensors))
    return functools.reduce(Tensor.add, (function(*map(wide, part)) for part in parts))


def difference(a: Tensor, b: float | Tensor) -> Tensor:
    """Subtracts in the type of `a`; integers and booleans as int64, so that small types do not wrap."""
    return _signed(a) - _signed(b)


def _signed(values: Any) -> Any:
    return values.long() if isinstance(values, Tensor) and is_exact(values) else values


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divides; a denominator of exactly 0 counts as 1, as in Captum."""
    return numerator / torch.where(denominator == 0, torch.ones_like(denominator), denominator)


def norm(vectors: Tensor, order: float = 2.0) -> Tensor:
    """`[rows]`: the norm of each row, in the type of statistics."""
    vectors = wide(vectors) if is_exact(vectors) else vectors
    return torch.linalg.vector_norm(vectors, ord=order, dim=1, dtype=wide(vectors[:0]).dtype)


def pearson(a: Tensor, b: Tensor, where: Tensor, resolution_a: Tensor, resolution_b: Tensor) -> Tensor:
    """Pearson correlation over the places `where`; nan where either side is constant.

    A side counts as constant if its standard deviation is at most its resolution, which is the rounding error of the
    numbers it was computed from.
    """
    n = where.sum(-1)
    (a, unit_a), (b, unit_b) = (to_unit(values.masked_fill(~where, 0)) for values in (a, b))
    resolution_a, resolution_b = resolution_a / unit_a[..., 0], resolution_b / unit_b[..., 0]
    a, b = _centred(a, where, n), _centred(b, where, n)
    var_a, var_b = (a * a).sum(-1), (b * b).sum(-1)
    r = (a * b).sum(-1) / (var_a * var_b).sqrt()
    constant = (var_a <= n * resolution_a**2) | (var_b <= n * resolution_b**2)
    return r.clamp(-1, 1).masked_fill(constant, torch.nan)


def spearman(a: Tensor, b: Tensor, where: Tensor, resolution_a: Tensor, resolution_b: Tensor) -> Tensor:
    """Spearman's rank correlation; ties share their mean rank.

    It is nan where either side is constant (as in `pearson`) or has a nan.
    """
    values = pearson(a, b, where, resolution_a, resolution_b)
    zero = torch.zeros_like(resolution_a), torch.zeros_like(resolution_b)
    return torch.where(values.isnan(), values, pearson(mean_ranks(a, where), mean_ranks(b, where), where, *zero))


def kendall(a: Tensor, b: Tensor, where: Tensor, resolution_a: Tensor, resolution_b: Tensor) -> Tensor:
    """Kendall's tau-b: the pairs that both sides order alike, less those that they order differently, as a share.

    It is nan where either side is constant (as in `pearson`) or has a nan. The time grows with `n log(n)^2`, and no
    table of pairs is made.
    """
    values = pearson(a, b, where, resolution_a, resolution_b)
    (a, tied_a), (b, tied_b) = (_ranks_and_ties(side, where) for side in (a, b))
    steps = 2 * a.shape[-1] + 1
    together = (a * steps + b).sort(-1).values  # by a, and by b where a is tied
    pairs = where.sum(-1) * (where.sum(-1) - 1) // 2
    untied = pairs - tied_a - tied_b + _ties(together, together // steps < steps - 1)
    tau = wide(untied - 2 * _inversions(together % steps)) / (wide(pairs - tied_a) * wide(pairs - tied_b)).sqrt()
    return torch.where(values.isnan(), values, tau)


def _ranks_and_ties(values: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Integers in the order of the values, the same and the highest for all other places; and how many pairs tie."""
    ranks = (2 * mean_ranks(values, where)).long().masked_fill(~where, 2 * values.shape[-1])
    ordered = ranks.sort(-1).values
    return ranks, _ties(ordered, ordered < 2 * values.shape[-1])


def _ties(ordered: Tensor, where: Tensor) -> Tensor:
    """Counts the pairs of equal values among the places `where`."""
    first, after = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))
    return ((after - first - 1) * where).sum(-1) // 2


def _inversions(values: Tensor) -> Tensor:
    """Counts the pairs of which the first is larger, of integers of at least 0.

    Such a pair differs first, from the highest bit on, in a bit that only the first has.
    """
    count = torch.zeros_like(values[..., 0])
    for bit in range(int(values.max()).bit_length() if values.numel() else 0):
        higher, order = (values >> bit + 1).sort(dim=-1, stable=True)
        has = (values >> bit & 1).gather(-1, order)
        before = torch.nn.functional.pad(has.cumsum(-1), (1, 0))  # how many places before have the bit
        since = before[..., :-1] - before.gather(-1, torch.searchsorted(higher, higher))
        count = count + ((1 - has) * since).sum(-1)
    return count


def between_rows(correlate: Callable[..., Tensor], a: Tensor, b: Tensor) -> Tensor:
    """`[rows]`: the correlation over all elements of each row; nan where a row is constant."""
    a, b = wide(a), wide(b)
    return correlate(a, b, torch.ones_like(a, dtype=torch.bool), _rounding(a), _rounding(b))


def _rounding(values: Tensor) -> Tensor:
    """By how much equal elements may differ from their mean."""
    return values.abs().amax(-1) * torch.finfo(values.dtype).eps * 16


def mean_ranks(values: Tensor, where: Tensor) -> Tensor:
    """Ranks from 0 over the places `where`; equal values share their mean rank."""
    values = values.masked_fill(~where, torch.inf).contiguous()
    in_order = values.sort(-1).values
    below, up_to = (torch.searchsorted(in_order, values, right=right) for right in (False, True))
    up_to = torch.minimum(up_to, where.sum(-1, keepdim=True))  # an infinite value is not tied with the other places
    return wide(below + up_to - 1) / 2


def _centred(values: Tensor, where: Tensor, n: Tensor) -> Tensor:
    return (values - (values.sum(-1) / n)[..., None]).masked_fill(~where, 0)


CORRELATIONS = {"pearson": pearson, "spearman": spearman, "kendall": kendall}


def area(curve: Tensor, fractions: Tensor) -> Tensor:
    """The area under a curve by the trapezoid rule, divided by the range of the fractions: its mean height."""
    return torch.trapezoid(curve, fractions) / (fractions[-1] - fractions[0])


def rounding_of_sums(values: Tensor) -> Tensor:
    """`[..., 1]`: the error that a sum of these values may have in float64."""
    return torch.finfo(torch.float64).eps * sum_of_parts(lambda part: part.abs().sum(-1, keepdim=True), values)


def rounding_of_outputs(outputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns how far outputs for equal inputs may differ, as batches of other sizes are summed in another order.

    It is a unit in the last place of the largest output, in the type of the outputs, or 16 units in the type in which
    sums are accumulated, whichever is larger. Integers are exact: 0.
    """
    if not dtype.is_floating_point:
        return torch.zeros_like(outputs[..., 0])
    accumulated = torch.float64 if dtype == torch.float64 else torch.float32
    return max(torch.finfo(dtype).eps, 16 * torch.finfo(accumulated).eps) * outputs.abs().amax(-1)
