"""The removable features of a batch.

They are the groups of `feature_mask`. Without a mask they are single elements; where a map has size 1 along an axis,
such as the channels, a feature spans that axis.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from .arguments import (
    Attributions,
    BaselinesType,
    FeatureMaskType,
    Fill,
    FrozenType,
    InputsType,
    Tensors,
    as_feature_mask,
    as_frozen,
    as_replacements,
    as_tuple,
    check_sums,
    filled_in,
    stacked,
)
from .checks import check_choice, shape
from .devices import rows_at, sent
from .guard import frames_of_package
from .interpretable import as_present, with_known_features
from .statistics import differs_from_previous, rounding_of_sums, wide

SORTED = 2**16  # elements sorted at a time, as a sort needs several times their memory
MANY_ROWS = 10_000  # of an example, above which a metric that takes one for each feature warns
AGGREGATES = ("sum", "mean")
SIGNS: dict[str, Callable[[Tensor], Tensor]] = {  # named as in captum.attr.visualization
    "all": lambda a: a,
    "positive": lambda a: a.clamp(min=0),
    "negative": lambda a: a.neg().clamp(min=0),
    "absolute_value": torch.abs,
}


class Totals:
    """The attribution of each feature by each of several methods, made by `make` from a method and a slice of examples.

    It is made again whenever it is asked for, as that of all methods may need as much memory as many batches.
    """

    def __init__(self, methods: int, make: Callable[[int, slice], Tensor]):
        self.methods, self.make = methods, make

    @classmethod
    def kept(cls, totals: Tensor) -> Totals:
        """Of totals `[methods, B, width]` that are there."""
        return cls(len(totals), lambda method, examples: totals[method, examples])

    def map(self, function: Callable[[Tensor], Tensor]) -> Totals:
        return Totals(self.methods, lambda *wanted: function(self.make(*wanted)))

    def of(self, method: int, examples: slice = slice(None)) -> Tensor:
        """`[examples, width]`"""
        return self.make(method, examples)

    def sums(self) -> Tensor:
        """`[methods, B]`: over all features."""
        return torch.stack([wide(self.of(method)).sum(-1) for method in range(self.methods)])

    def rounding(self) -> Tensor:
        """`[methods, B, 1]`: the error that sums of them may have."""
        return torch.stack([rounding_of_sums(self.of(method)) for method in range(self.methods)])


def in_parts(methods: int, batch: int, width: int, score: Callable[[int, slice], Tensor]) -> Tensor:
    """`[methods, B, ...]`: the scores `[1, b, ...]` of one method and few examples at a time.

    So memory does not grow with the methods, nor with a batch whose examples have a large `width`.
    """
    size = max(SORTED // width, 1)
    examples = [slice(i, min(i + size, batch)) for i in range(0, batch, size)]
    return torch.cat([torch.cat([score(method, part) for part in examples], 1) for method in range(methods)])


class Features:
    """The features of each example, on a grid for each input tensor.

    A grid has the axes of its tensor, with size 1 where a feature spans the axis; a grid point belongs to one feature.
    Features are numbered from 0 within each example: there are `counts[b]` of them, and `width` is the largest count.
    `index` (`[1 or B, points of all tensors]`) has the feature of each grid point, and `width` for frozen points, which
    belong to none. `index` is None where every point is a feature of its own.
    """

    def __init__(
        self,
        inputs: InputsType,
        attributions: Attributions,
        baselines: BaselinesType = None,
        feature_mask: FeatureMaskType = None,
        frozen: FrozenType = None,
    ):
        feature_mask, frozen = with_known_features(inputs, feature_mask, frozen)
        self.given = as_present(inputs)
        self.inputs = as_tuple(self.given)
        self.attributions = attributions
        self.baselines = as_replacements(baselines, self.given)
        masks = as_feature_mask(feature_mask, self.given)
        self.frozen = as_frozen(frozen, masks)
        self.index: Tensor | None = None
        if masks is None:
            self.grids = [_default_grid(x, maps) for x, maps in zip(self.inputs, zip(*attributions.maps))]
            self.counts = torch.full((len(self.inputs[0]),), sum(map(math.prod, self.grids)), device="cpu")
        else:
            masks = tuple(matched_to_maps(m, maps) for m, maps in zip(masks, zip(*attributions.maps)))
            self.grids = [shape(m)[1:] for m in masks]
            self.index, self.counts = _numbered_groups(masks, len(self.inputs[0]), self.frozen)
        self.width = int(self.counts.max())
        _warn_of_one_feature(
            self.inputs, self.width, "`attributions` have" if masks is None else "`feature_mask` leaves"
        )

    def with_baselines(self, baselines: BaselinesType) -> Features:
        """Returns the same features with other replacements."""
        other = copy.copy(self)
        other.baselines = as_replacements(baselines, self.given)
        return other

    def totals(self, aggregate: str, labels: Sequence[str] | None = None) -> Tensor:
        """`[methods, B, width]`: the attribution of each feature, the sum or the mean over its elements.

        `labels` are what errors call the attributions of each method.
        """
        totals = self.totals_by_method(aggregate, labels)
        return stacked([totals.of(method) for method in range(totals.methods)])

    def totals_by_method(self, aggregate: str, labels: Sequence[str] | None = None) -> Totals:
        """Returns the same, made for some examples of one method when it is asked for."""
        check_choice("aggregate", aggregate, AGGREGATES)
        for label, maps in zip(labels or self.attributions.labels, self.attributions.maps):
            check_sums(label, self._totals(maps, aggregate))

        def of(method: int, examples: slice) -> Tensor:
            return self._totals(self.attributions.maps[method], aggregate, examples)

        return Totals(len(self.attributions.maps), of)

    def _totals(self, maps: Tensors, aggregate: str, examples: slice = slice(None)) -> Tensor:
        maps = tuple(m[examples] for m in maps)
        index = self.index if self.index is None or len(self.index) == 1 else self.index[examples]
        total = self._per_feature(self._on_grid(maps), index)
        if aggregate == "sum" or (self.index is None and all(a.shape[1:] == grid for a, grid in zip(maps, self.grids))):
            return total
        points = [math.prod(grid) for grid in self.grids]
        per_point = [math.prod(a.shape[1:]) / n for a, n in zip(maps, points)]
        elements = torch.cat([total.new_full((1, n), each) for n, each in zip(points, per_point)], 1)
        return total / self._per_feature(elements, index).clamp(min=1)

    def sums(self, values: Tensors, example: Tensor) -> Tensor:
        """`[rows, width]`: the sum of the values over each feature; `example` says which example a row belongs to."""
        own = self.index if self.index is None or len(self.index) == 1 else rows_at(self.index, example)
        return self._per_feature(self._on_grid(values), own)

    def _on_grid(self, values: Tensors) -> Tensor:
        """`[rows, points of all tensors]`: the sums over the axes that a feature spans."""
        parts = [_onto_grid(v, grid) for v, grid in zip(values, self.grids)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _per_feature(self, on_grid: Tensor, index: Tensor | None) -> Tensor:
        if index is None:
            return on_grid
        rows = max(len(on_grid), len(index))
        values, index = wide(on_grid).expand(rows, -1), index.expand(rows, -1)
        columns = self.width + (len(self.frozen) > 0)
        return values.new_zeros(rows, columns).scatter_add_(1, index, values)[:, : self.width]

    def ranks(self, totals: Tensor) -> Tensor:
        """`[methods, B, width]`: the rank of each feature, from 0 for the most relevant; ties keep their order."""
        example = torch.arange(len(self.counts), device="cpu").expand(totals.shape[:2])
        return self.ranks_of_rows(totals.flatten(0, 1), example.flatten()).reshape(totals.shape)

    def ranks_of_rows(self, totals: Tensor, example: Tensor) -> Tensor:
        """`[rows, width]`: the same for rows that belong to these examples."""
        counts = sent(self.counts[example], totals.device)[:, None].int()
        ranks = torch.empty_like(totals, dtype=torch.int32)
        for r, t, c in zip(*(tensor.split(self.sorted_at_a_time) for tensor in (ranks, totals, counts))):
            _rank(r, t, c)
        return ranks

    @property
    def sorted_at_a_time(self) -> int:
        """How many rows are ranked at a time."""
        return max(SORTED // self.width, 1)

    def shares(self) -> Tensors:
        """Returns, for each element of the inputs, 1 divided by the number of elements of its feature."""
        ones = tuple(torch.ones_like(x[:1], dtype=torch.float32).expand_as(x) for x in self.inputs)
        example = torch.arange(len(self.counts), device="cpu")
        return tuple((1 / n).expand_as(x) for n, x in zip(self.spread(self.sums(ones, example), example), ones))

    def without(self, removed: Tensor, example: Tensor) -> Tensors:
        """Returns copies of the examples, with the features `removed` (`[rows, width]`) replaced by the baselines."""
        return tuple(
            _erase(x, b, mask, example)
            for x, b, mask in zip(self.inputs, self.baselines, self.spread(removed, example))
        )

    def as_maps(self, totals: Tensor) -> Tensors:
        """Returns attributions that have the mean `totals` (`[B, width]`) over each feature."""
        parts = self.spread(totals, torch.arange(len(totals), device="cpu"))
        return tuple(part if self.index is None else part.expand_as(x) for part, x in zip(parts, self.inputs))

    def spread(self, values: Tensor, example: Tensor) -> Iterator[Tensor]:
        """Yields, for each tensor, the values of the features on its grid; frozen points get 0."""
        if len(self.frozen):
            values = pad(values, (0, 1))  # the added column belongs to the frozen points
        if self.index is not None and len(self.index) == 1:
            values = values[:, self.index[0]]
        elif self.index is not None:
            values = values.gather(1, rows_at(self.index, example))
        for part, grid in zip(values.split([math.prod(g) for g in self.grids], 1), self.grids):
            yield part.reshape(-1, *grid)


def _rank(ranks: Tensor, totals: Tensor, counts: Tensor) -> None:
    """Fills `ranks` (`[rows, width]`) in place."""
    place = torch.arange(totals.shape[1], dtype=torch.int32, device=totals.device).expand_as(totals)
    order = totals.masked_fill(place >= counts, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks.scatter_(1, order, place)


def _default_grid(x: Tensor, maps: Tensors) -> tuple[int, ...]:
    """Returns a grid with a point per element, and size 1 along every axis that a map of a method spans."""
    return tuple(map(min, *(shape(t)[1:] for t in (x, *maps))))


def matched_to_maps(mask: Tensor, maps: Tensors) -> Tensor:
    """Returns the mask with size 1 along every axis that a map spans."""
    for axis in range(1, mask.dim()):
        if any(a.shape[axis] < mask.shape[axis] for a in maps):
            first = mask.narrow(axis, 0, 1)
            if not mask.is_meta and (mask != first).any():
                raise ValueError(
                    f"`attributions` have one value for all of axis {axis}, but `feature_mask` separates its elements. "
                    f"Give the mask size 1 there too, shape {shape(first)}, or attributions for every element."
                )
            mask = first
    return mask


def _warn_of_one_feature(inputs: Tensors, width: int, cause: str) -> None:
    if width == 1 < sum(x[0].numel() for x in inputs):
        warnings.warn(
            f"{cause} one feature in each example, so features cannot be compared."
            + " For series (B, time, channels), masks of windows need axis=1." * ("mask" in cause),
            stacklevel=frames_of_package(),
        )


def warn_of_many_rows(rows: int) -> None:
    """Warns, before the model is called, of so many rows for an example because it has many features."""
    if rows > MANY_ROWS:
        warnings.warn(
            f"{rows:,} rows of the model are needed for one example, as each of its features takes one. Give a "
            "`feature_mask` of fewer and larger features, such as a grid, superpixels or windows.",
            stacklevel=frames_of_package(),
        )


def _numbered_groups(masks: Tensors, batch: int, frozen: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers the groups of each example from 0 in the order of their ids, and counts them.

    The same id in several tensors is one feature. Points with `frozen` ids get the number after the largest.
    """
    own = max(len(m) for m in masks)
    ids = torch.cat([m.expand(own, *m.shape[1:]).reshape(own, -1) for m in masks], 1)
    ordered, order = ids.sort(1)  # examples need not share ids, so there is no table of all ids
    is_frozen = torch.isin(ordered, frozen)
    starts = differs_from_previous(ordered) & ~is_frozen
    counts = starts.sum(1).cpu()
    check_some_left(counts)
    number = (starts.cumsum(1) - 1).masked_fill_(is_frozen, int(counts.max()))
    return torch.empty_like(number).scatter_(1, order, number), counts.expand(batch)


def check_some_left(counts: Tensor) -> None:
    if (counts == 0).any():
        raise ValueError(
            f"`frozen` has all ids of example {int(counts.argmin())}, so nothing can be removed from it. "
            "Leave an id out or drop the example."
        )


def _onto_grid(a: Tensor, grid: tuple[int, ...]) -> Tensor:
    """`[B, points]`: the sum over the axes that a feature spans."""
    axes = [axis for axis, size in enumerate(grid, 1) if size == 1 != a.shape[axis]]
    return (wide(a).sum(axes) if axes else a).reshape(len(a), -1)


def _erase(x: Tensor, baseline: float | Tensor | Fill, mask: Tensor, example: Tensor) -> Tensor:
    rows = rows_at(x, example)
    if isinstance(baseline, (int, float)):
        baseline = rows.new_full((1,), baseline)  # `masked_fill_` does not take all types of integers
    if not isinstance(baseline, Tensor):
        filled = filled_in(baseline, rows.clone(), mask.expand_as(rows).clone())
        return torch.where(mask, filled, rows, out=rows)
    return torch.where(mask, rows_at(baseline, example) if len(baseline) > 1 else baseline, rows, out=rows)
