"""Attributions as one score per position of a truth mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..._core.arguments import (
    Attributions,
    AttributionsType,
    FeatureMaskType,
    FrozenType,
    InputsType,
    Scores,
    TensorOrTuple,
    Tensors,
    as_attributions,
    as_feature_mask,
    as_frozen,
    as_tuple,
    broadcasts,
    check_sums,
    check_unambiguous,
    flat,
    stacked,
)
from ..._core.checks import check_choice, check_has_values, check_real, describe, shape
from ..._core.features import SIGNS, check_some_left, in_parts, matched_to_maps
from ..._core.interpretable import as_present, with_known_features
from ..._core.statistics import wide

MASSES = ("positive", "negative", "absolute_value")


@dataclass(frozen=True)
class Positions:
    """Scores per position, an element of `truth_mask`: summed over the axes where the mask has size 1, then signed.

    Positions outside `where` are left out: they are not true, and their scores are 0. Masks have as many axes as the
    inputs, and 1 or B rows.
    """

    methods: Attributions
    given: Tensors  # the truth masks, where all positions count
    counted: Tensors  # which elements count
    kept: Tensors  # which positions do
    counts: Tensor  # [B]: how many, on the CPU
    sign: str
    scaled: Tensor | None = None  # in place of the scores

    @cached_property
    def masks(self) -> Tensors:
        return tuple(m & k for m, k in zip(self.given, self.kept))

    @cached_property
    def scores(self) -> Tensor:
        """`[methods, B, positions]`"""
        if self.scaled is not None:
            return self.scaled
        return SIGNS[self.sign](stacked([self.sums(method) for method in range(len(self.methods.maps))]))

    @cached_property
    def where(self) -> Tensor:
        """`[B, positions]`"""
        return self.per_position(self.kept)

    @cached_property
    def truth(self) -> Tensor:
        return self.per_position(self.masks)

    @cached_property
    def ranked(self) -> Tensor:
        """The scores, with those of positions that are left out below all others."""
        return self.scores.masked_fill(~self.where, -math.inf)

    def sums(self, method: int) -> Tensor:
        """`[B, positions]`: the sums of a method's attributions."""
        return flat(tuple(map(_summed, self.methods.maps[method], self.given, self.counted)))

    def per_position(self, masks: Tensors) -> Tensor:
        """`[B, positions]`: the masks of all tensors, expanded to the batch."""
        return flat(tuple(m.expand(len(self.counts), *m.shape[1:]) for m in masks))

    def unpack(self, score: Callable[[Positions], Tensor]) -> Scores:
        """The scores in the form of the caller's attributions; nan where an example has no truth.

        The function makes scores `[1, b, ...]` of the positions of one method and few examples.
        """

        def of_part(method: int, examples: slice) -> Tensor:
            part = self._part(method, examples)
            scores = score(part)
            no_truth = ~part.truth.any(1).reshape(-1, *[1] * (scores.dim() - 2))
            return scores.masked_fill(no_truth, torch.nan)

        width = sum(m[0].numel() for m in self.given)
        return self.methods.unpack(in_parts(len(self.methods.maps), len(self.counts), width, of_part))

    def _part(self, method: int, examples: slice) -> Positions:
        def rows(tensors: Tensors) -> Tensors:
            return tuple(t if len(t) == 1 else t[examples] for t in tensors)

        maps = tuple(m[examples] for m in self.methods.maps[method])
        given, counted, kept = map(rows, (self.given, self.counted, self.kept))
        return Positions(Attributions(None, (maps,)), given, counted, kept, self.counts[examples], self.sign)


def at_positions(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    feature_mask: FeatureMaskType,
    frozen: FrozenType,
    sign: str,
    signs: Iterable[str] = SIGNS,
) -> Positions:
    check_choice("sign", sign, signs)
    x = as_tuple(inputs)
    methods = as_attributions(attributions, inputs)
    feature_mask, frozen = with_known_features(inputs, feature_mask, frozen)
    groups = as_feature_mask(feature_mask, as_present(inputs))
    masks = _as_truth_mask(truth_mask, x)
    counted = _counted(x, methods, groups, as_frozen(frozen, groups))
    kept = tuple(map(_with_any, counted, masks))
    p = Positions(methods, masks, counted, kept, torch.empty(len(x[0]), device="cpu"), sign)
    for method, label in enumerate(methods.labels):
        check_sums(label, p.sums(method))
    counts = torch.full((len(p.where),), p.where.shape[1], device="cpu") if groups is None else p.where.sum(-1).cpu()
    check_some_left(counts)
    return replace(p, counts=counts)


def _counted(inputs: Tensors, methods: Attributions, groups: Tensors | None, frozen: Tensor) -> Tensors:
    """For each tensor, which elements count, as their group is not frozen; it broadcasts to the tensor."""
    if groups is None:
        return tuple(torch.ones((1,) * x.dim(), dtype=torch.bool, device=x.device) for x in inputs)
    counted = [~torch.isin(g, frozen) for g in groups]
    return tuple(matched_to_maps(c, maps) for c, maps in zip(counted, zip(*methods.maps)))


def _with_any(counted: Tensor, mask: Tensor) -> Tensor:
    """`[1 or B, *grid]`: the elements of a truth mask that stand for any element that counts."""
    spanned = [axis for axis in range(1, mask.dim()) if mask.shape[axis] == 1]
    kept = counted.any(spanned, keepdim=True) if spanned else counted
    return kept.expand(len(kept), *mask.shape[1:])


def _as_truth_mask(truth_mask: TensorOrTuple, inputs: Tensors) -> Tensors:
    masks = (truth_mask,) if isinstance(truth_mask, Tensor) else truth_mask
    if not isinstance(masks, tuple) or not all(isinstance(m, Tensor) for m in masks):
        raise TypeError(f"`truth_mask` must be a tensor or a tuple of tensors, got {describe(truth_mask)}.")
    if len(masks) != len(inputs):
        raise ValueError(
            f"`truth_mask` must have one tensor for each of the {len(inputs)} tensors of `inputs`, got {len(masks)}."
        )
    check_real("`truth_mask` must be", *masks)
    for m, x in zip(masks, inputs):
        check_has_values("truth_mask", m, x)
        if m.dtype != torch.bool:
            raise TypeError(f"`truth_mask` must be of type bool, got {m.dtype}. Use truth_mask > 0.")
        if m.dim() > x.dim() or not broadcasts(m, x):
            raise ValueError(
                f"`truth_mask` must broadcast to `inputs` {shape(x)}, got {shape(m)}. "
                "For one mask per example shared by channels give it shape (B, 1, H, W)."
            )
        check_unambiguous("truth_mask", m, x)
    return tuple(m.to(x.device).reshape((1,) * (x.dim() - m.dim()) + shape(m)) for m, x in zip(masks, inputs))


def _summed(a: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
    """`[B, *grid]`: the attribution at each element of the mask, of what counts."""
    if not broadcasts(mask, a):
        axis = next(i for i in range(1, a.dim()) if mask.shape[i] > a.shape[i])
        raise ValueError(
            f"`truth_mask` {shape(mask)} must have size 1 along axis {axis}, as `attributions` {shape(a)} have. "
            f"Give, for example, truth_mask.any({axis}, keepdim=True)."
        )
    return wide(a).masked_fill(~counted, 0).sum_to_size(len(a), *mask.shape[1:])


def near(mask: Tensor, tolerance: float) -> Tensor:
    """The positions whose Euclidean distance to the mask is at most `tolerance`, along the axes after the channels."""
    # The squared distance to the nearest position of the mask, found axis by axis.
    square = wide(torch.zeros(mask.shape, device=mask.device)).masked_fill_(~mask, math.inf)
    for axis in range(2, mask.dim()):
        size = mask.shape[axis]
        reach = min(int(tolerance), size - 1)
        lines = pad(square.transpose(axis, -1), (reach, reach), value=math.inf)
        moved = (lines.narrow(-1, reach + step, size) + step**2 for step in range(-reach, reach + 1))
        square = reduce(torch.minimum, moved).transpose(axis, -1)
    return square <= tolerance * tolerance  # infinite where it overflows


class Ranking:
    """Counts scores, and true positions among them, above a threshold or at the top; over the last axis."""

    def __init__(self, p: Positions):
        descending, order = p.ranked.sort(-1, descending=True)
        self.ascending, self.counts = descending.flip(-1).contiguous(), p.counts.to(order.device)[:, None]
        self.order = order
        self.true = pad(p.truth.expand_as(order).gather(-1, order).cumsum(-1), (1, 0))  # among the highest 0, 1, ...

    def reaching(self, threshold: Tensor, strictly: bool = False) -> tuple[Tensor, Tensor]:
        """How many scores are at least (`strictly`: above) the threshold, and how many of them are true."""
        count = self.ascending.shape[-1] - torch.searchsorted(self.ascending, threshold.contiguous(), right=strictly)
        true = self.true.gather(-1, count)
        return torch.minimum(count, self.counts), true  # a score of -inf is not tied with positions that are left out

    def precisions(self) -> Tensor:
        """For each position, the share of true ones among those whose scores are at least its own."""
        called, rightly = self.reaching(self.ascending)  # in order, which is several times as fast as in their places
        precisions = (wide(rightly) / called).flip(-1)
        return torch.empty_like(precisions).scatter_(-1, self.order, precisions)

    def true_among_top(self, k: Tensor) -> Tensor:
        """How many of the `k` highest scores are true; for equal scores, the expected number in random order."""
        kth = self.ascending.gather(-1, self.ascending.shape[-1] - k)
        above, true_above = self.reaching(kth, strictly=True)
        reaching, true_reaching = self.reaching(kth)
        return true_above + (k - above) * wide(true_reaching - true_above) / (reaching - above)
