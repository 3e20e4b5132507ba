"""Statistics over the last axis. Each says what it returns where it is undefined."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

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

    It is nan where either side is constant (as in `pearson`) or has a nan.
    """
    values = pearson(a, b, where, resolution_a, resolution_b)
    pairs = count_pairs(a, b, where)
    untied = pairs.all - pairs.tied_in_a - pairs.tied_in_b + pairs.tied_in_both
    most = wide(pairs.all - pairs.tied_in_a) * wide(pairs.all - pairs.tied_in_b)
    return torch.where(values.isnan(), values, wide(untied - 2 * pairs.discordant) / most.sqrt())


class Pairs(NamedTuple):
    """Numbers of pairs of places; a discordant pair is ordered one way by `a` and the other way by `b`."""

    all: Tensor
    tied_in_a: Tensor
    tied_in_b: Tensor
    tied_in_both: Tensor
    discordant: Tensor


def count_pairs(a: Tensor, b: Tensor, where: Tensor) -> Pairs:
    """Counts pairs of the places `where` exactly, by sorting, in `n log(n)` steps and without a table of pairs."""
    a, b, where = torch.broadcast_tensors(a, b, where)
    a, b = (side.masked_fill(~where, torch.inf) for side in (a, b))  # the other places come last, so none is discordant
    order = _sorting(a, first=_sorting(b))  # by a, and by b where a is tied
    a, b, where = (values.gather(-1, order) for values in (a, b, where))
    order = _sorting(b)  # by b, and by a where b is tied
    new_in_a = differs_from_previous(a)
    n = where.sum(-1)
    return Pairs(
        n * (n - 1) // 2,
        _ties(new_in_a, where),
        _ties(differs_from_previous(b.gather(-1, order)), where.gather(-1, order)),
        _ties(new_in_a | differs_from_previous(b), where),
        _inversions(order),
    )


def _sorting(values: Tensor, first: Tensor | None = None) -> Tensor:
    """The order that sorts values; equal ones stay in the order `first`, or else in their own."""
    if first is None:
        return values.argsort(dim=-1, stable=True)
    return first.gather(-1, _sorting(values.gather(-1, first)))


def differs_from_previous(ordered: Tensor) -> Tensor:
    """Whether a run of equal values begins here, in sorted values."""
    return pad(ordered[..., 1:] != ordered[..., :-1], (1, 0), value=True)


def _ties(starts: Tensor, where: Tensor) -> Tensor:
    """Counts the pairs of places `where` in the same run; `starts` is true at the first place of each run."""
    before = where.cumsum(-1) - where.long()
    of_earlier_runs = (before * starts).cummax(-1).values
    return ((before - of_earlier_runs) * where).sum(-1)


def _inversions(permutation: Tensor) -> Tensor:
    """Counts the pairs of which the first is larger, in permutations of 0, ..., n - 1.

    Such a pair differs first, from the highest bit on, in a bit that only the first has. Values that agree above that
    bit form a block, which has as many values with the bit as without it; those without it then move to its front.
    """
    n, bits = permutation.shape[-1], (permutation.shape[-1] - 1).bit_length()
    place = torch.arange(1 << bits, dtype=torch.int32, device=permutation.device)
    values = torch.cat((permutation.int(), place[n:].expand(*permutation.shape[:-1], -1)), -1)
    count = torch.zeros_like(permutation[..., 0])
    for bit in reversed(range(bits)):
        half = 1 << bit
        has = values >> bit & 1
        before = has.cumsum(-1, dtype=torch.int32) - has  # how many earlier places have the bit
        blocks_before = (place >> bit + 1) * half  # as many of those are in earlier blocks
        count = count + ((before - blocks_before) * (1 - has)).sum(-1)
        moved = blocks_before + torch.where(has.bool(), half + before, place - before)
        values = torch.empty_like(values).scatter_(-1, moved.long(), values)
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
    in_order, order = values.masked_fill(~where, torch.inf).sort(-1)
    # Looking for values in their order reads memory from front to back, which is several times as fast.
    below, up_to = (torch.searchsorted(in_order, in_order, right=right, out_int32=True) for right in (False, True))
    last = where.sum(-1, keepdim=True, dtype=torch.int32) - 1  # an infinite value is not tied with the other places
    ranks = wide(below + torch.minimum(up_to - 1, last)) / 2
    return torch.empty_like(ranks).scatter_(-1, order, ranks)


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
