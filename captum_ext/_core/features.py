"""The removable features of a batch: groups of `feature_mask`, else single elements (or positions, for maps with one channel)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from .arguments import (
    Attributions,
    BaselinesType,
    FeatureMaskType,
    Fill,
    FrozenType,
    TensorOrTuple,
    Tensors,
    as_feature_mask,
    as_frozen,
    as_replacements,
    as_tuple,
    stacked,
)
from .checks import check_choice, shape
from .statistics import wide

SORTED = 2**19  # elements sorted at a time: a sort needs several times their memory
AGGREGATES = ("sum", "mean")
SIGNS: dict[str, Callable[[Tensor], Tensor]] = {  # named as in captum.attr.visualization
    "all": lambda a: a,
    "positive": lambda a: a.clamp(min=0),
    "negative": lambda a: a.neg().clamp(min=0),
    "absolute_value": torch.abs,
}


class Features:
    """Every input tensor has a grid: its own axes, of size 1 where one feature spans the axis. A grid point belongs to one feature.

    Features are numbered from 0 for each example by itself: `counts[b]` of them, `width` at most. `index` says which feature a
    grid point belongs to (`[1 or B, points of all tensors]`), `width` where to none, as it is frozen; None where every point is a feature
    of its own.
    """

    def __init__(
        self,
        inputs: TensorOrTuple,
        attributions: Attributions,
        baselines: BaselinesType = None,
        feature_mask: FeatureMaskType = None,
        frozen: FrozenType = None,
    ):
        self.given, self.inputs = inputs, as_tuple(inputs)
        self.attributions = attributions
        self.baselines = as_replacements(baselines, inputs)
        masks = as_feature_mask(feature_mask, inputs)
        self.frozen = as_frozen(frozen, masks)
        self.index: Tensor | None = None
        if masks is None:
            self.grids = [_default_grid(x, maps) for x, maps in zip(self.inputs, zip(*attributions.maps))]
            self.counts = torch.full((len(self.inputs[0]),), sum(map(math.prod, self.grids)))
        else:
            masks = tuple(_spanning(m, maps) for m, maps in zip(masks, zip(*attributions.maps)))
            self.grids = [shape(m)[1:] for m in masks]
            self.index, self.counts = _number(masks, len(self.inputs[0]), self.frozen)
        self.width = int(self.counts.max())

    def with_baselines(self, baselines: BaselinesType) -> Features:
        """The same features, replaced by something else."""
        other = copy.copy(self)
        other.baselines = as_replacements(baselines, self.given)
        return other

    def totals(self, aggregate: str) -> Tensor:
        """`[methods, B, width]`: each feature's attribution, the sum or the mean over its elements."""
        check_choice("aggregate", aggregate, AGGREGATES)
        return stacked([self._totals(maps, aggregate) for maps in self.attributions.maps])

    def _totals(self, maps: Tensors, aggregate: str) -> Tensor:
        total = self._per_feature(_side_by_side(_onto_grid(a, grid) for a, grid in zip(maps, self.grids)), self.index)
        if aggregate == "sum" or (self.index is None and all(t.shape[1:] == grid for t, grid in zip(maps, self.grids))):
            return total
        elements = _side_by_side(
            torch.full((1, math.prod(grid)), math.prod(a.shape[1:]) / math.prod(grid)).to(total)
            for a, grid in zip(maps, self.grids)
        )
        return total / self._per_feature(elements, self.index).clamp(min=1)

    def sums(self, values: Tensors, example: Tensor) -> Tensor:
        """`[rows, width]`: the sum over each feature of what the rows' elements have; `example` says which example a row belongs to."""
        on_grid = _side_by_side(_onto_grid(v, grid) for v, grid in zip(values, self.grids))
        own = self.index if self.index is None or len(self.index) == 1 else self.index[example]
        return self._per_feature(on_grid, own)

    def _per_feature(self, on_grid: Tensor, index: Tensor | None) -> Tensor:
        if index is None:
            return on_grid
        rows = max(len(on_grid), len(index))
        values, index = wide(on_grid).expand(rows, -1), index.expand(rows, -1)
        columns = self.width + (len(self.frozen) > 0)
        return values.new_zeros(rows, columns).scatter_add_(1, index, values)[:, : self.width]

    def ranks(self, totals: Tensor) -> Tensor:
        """`[methods, B, width]`: each feature's place in the order of relevance, from 0; equal ones in the order of their numbers."""
        counts = self.counts.to(totals.device)[:, None].int().expand(*totals.shape[:2], 1)
        ranks = torch.empty_like(totals, dtype=torch.int32)
        rows = max(SORTED // self.width, 1)
        for r, t, c in zip(*(tensor.flatten(0, 1).split(rows) for tensor in (ranks, totals, counts))):
            _rank(r, t, c)
        return ranks

    def without(self, removed: Tensor, example: Tensor) -> Tensors:
        """Copies of the examples, the features `removed` (`[rows, width]`) replaced by the baselines."""
        return tuple(
            _erase(x, b, mask, example)
            for x, b, mask in zip(self.inputs, self.baselines, self.spread(removed, example))
        )

    def as_maps(self, totals: Tensor) -> Tensors:
        """Attributions whose means over the features are `totals` `[B, width]`."""
        parts = self.spread(totals, torch.arange(len(totals)))
        return tuple(part if self.index is None else part.expand_as(x) for part, x in zip(parts, self.inputs))

    def spread(self, values: Tensor, example: Tensor) -> Iterator[Tensor]:
        """From features to the grid of each tensor; 0 where it is frozen."""
        if len(self.frozen):
            values = pad(values, (0, 1))  # no frozen point is removed
        if self.index is not None and len(self.index) == 1:
            values = values[:, self.index[0]]
        elif self.index is not None:
            values = values.gather(1, self.index[example])
        for part, grid in zip(values.split([math.prod(g) for g in self.grids], 1), self.grids):
            yield part.reshape(-1, *grid)


def _rank(ranks: Tensor, totals: Tensor, counts: Tensor) -> None:
    """Fills `ranks` `[rows, width]`."""
    place = torch.arange(totals.shape[1], dtype=torch.int32, device=totals.device).expand_as(totals)
    order = totals.masked_fill(place >= counts, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks.scatter_(1, order, place)


def _default_grid(x: Tensor, maps: Tensors) -> tuple[int, ...]:
    """A point per element; per position where a method's map has one channel."""
    return shape(x)[1:] if all(a.shape == x.shape for a in maps) else (1, *shape(x)[2:])


def _spanning(mask: Tensor, maps: Tensors) -> Tensor:
    """The mask without its channels where a map has only one."""
    if mask.dim() < 3 or all(a.shape[1] >= mask.shape[1] for a in maps):
        return mask
    if mask.is_meta or (mask == mask[:, :1]).all():
        return mask[:, :1]
    raise ValueError(
        "Attributions with one channel score positions, but `feature_mask` separates the channels. "
        f"Give the mask one channel too, shape {(len(mask), 1, *mask.shape[2:])}, or attributions for every channel."
    )


def _number(masks: Tensors, batch: int, frozen: Tensor) -> tuple[Tensor, Tensor]:
    """Each example's own groups numbered from 0 in the order of their ids, and how many it has; an id is one feature in all tensors.

    The places of `frozen` ids have the number after the last.
    """
    own = max(len(m) for m in masks)
    ids = torch.cat([m.expand(own, *m.shape[1:]).reshape(own, -1) for m in masks], 1)
    distinct, index = ids.unique(return_inverse=True)
    is_frozen = torch.isin(distinct, frozen)
    present = index.new_zeros(own, len(distinct)).scatter_(1, index, 1).masked_fill_(is_frozen, 0)
    counts = present.sum(1)
    number = (present.cumsum(1) - 1).masked_fill_(is_frozen, int(counts.max()))
    return number.gather(1, index), _some_each(counts.cpu()).expand(batch)


def _some_each(counts: Tensor) -> Tensor:
    if (counts == 0).any():
        raise ValueError(
            f"`frozen` has all ids of example {int(counts.argmin())}, so nothing can be removed from it. Leave an id out or drop the example."
        )
    return counts


def _side_by_side(parts: Iterable[Tensor]) -> Tensor:
    parts = tuple(parts)
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _onto_grid(a: Tensor, grid: tuple[int, ...]) -> Tensor:
    """`[B, points]`: the sum over the axes that a feature spans."""
    axes = [axis for axis, size in enumerate(grid, 1) if size == 1 != a.shape[axis]]
    return (wide(a).sum(axes) if axes else a).reshape(len(a), -1)


def _erase(x: Tensor, baseline: float | Tensor | Fill, mask: Tensor, example: Tensor) -> Tensor:
    rows = x[example]
    if isinstance(baseline, (int, float)):
        return rows.masked_fill_(mask, baseline)
    if not isinstance(baseline, Tensor):
        filled = baseline.fill(rows.clone(), mask.expand_as(rows))
        return torch.where(mask, filled.to(rows), rows, out=rows)
    return torch.where(mask, baseline[example] if len(baseline) > 1 else baseline, rows, out=rows)
