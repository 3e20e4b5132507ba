"""Attributions and reference attributions, feature by feature, and how many features or pairs of them agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._core.arguments import (
    Attributions,
    AttributionsType,
    FeatureMaskType,
    FrozenType,
    InputsType,
    Scores,
    TensorOrTuple,
    as_attributions,
    as_tuple,
    attribution_maps,
)
from ..._core.checks import check_choice
from ..._core.features import SIGNS, Features, Totals, in_parts
from ..._core.sizes import SizeType, as_sizes
from ..._core.statistics import count_pairs, wide


@dataclass(frozen=True)
class Pair:
    """Attributions of features, `a [1, b, F]`, and of the reference, `b [1, b, F]`, of one method and few examples."""

    features: Features
    example: Tensor  # [b], on the CPU
    a: Tensor
    b: Tensor
    sign: str

    @property
    def counts(self) -> Tensor:
        return self.features.counts[self.example]

    @property
    def where(self) -> Tensor:
        """`[b, F]`: the features that an example has."""
        return torch.arange(self.a.shape[-1], device=self.a.device) < self.counts.to(self.a.device)[:, None]

    @property
    def importances(self) -> tuple[Tensor, Tensor]:
        """What features are ranked by."""
        return SIGNS[self.sign](self.a), SIGNS[self.sign](self.b)

    @property
    def ranks(self) -> tuple[Tensor, Tensor]:
        """From 0 for the most important feature; equal ones are ordered by their index."""
        a, b = (self.features.ranks_of_rows(side[0], self.example)[None] for side in self.importances)
        return a, b

    @property
    def same_sign(self) -> Tensor:
        return self.a.sign() == self.b.sign()

    @property
    def same_rank(self) -> Tensor:
        a, b = self.ranks
        return a == b

    def shares_of_top(self, sizes: Tensor, agree: Tensor | None) -> Tensor:
        """`[1, b, K]`: of the `sizes [b, K]` most important features, those that both sides share and `agree` upon."""
        sizes = sizes.to(self.a.device)
        worse = torch.maximum(*self.ranks)  # below k if a feature is at the top on both sides
        if agree is not None:
            worse = worse.masked_fill(~agree, worse.shape[-1])
        found = torch.searchsorted(worse.sort(-1).values, sizes[None].int().contiguous())
        return wide(found) / sizes

    def share_of_agreeing_pairs(self) -> Tensor:
        """`[1, b]`: of the pairs of features, those that both sides order alike, or both tie."""
        pairs = count_pairs(*self.importances, self.where)
        tied_in_one = pairs.tied_in_a + pairs.tied_in_b - 2 * pairs.tied_in_both
        return wide(pairs.all - pairs.discordant - tied_in_one) / pairs.all


@dataclass(frozen=True)
class Pairs:
    """The attributions of all methods and those of the reference, which come first in `totals`."""

    methods: Attributions
    features: Features
    totals: Totals
    sign: str

    def unpack(self, score: Callable[[Pair], Tensor]) -> Scores:
        """The scores `[1, b, ...]` that a function makes of one method and few examples at a time."""

        def of_part(method: int, examples: slice) -> Tensor:
            a, b = (self.totals.of(number, examples)[None] for number in (1 + method, 0))
            example = torch.arange(examples.start, examples.stop, device="cpu")
            return score(Pair(self.features, example, a, b, self.sign))

        batch = len(self.features.counts)
        return self.methods.unpack(in_parts(self.totals.methods - 1, batch, self.features.width, of_part))

    def share_of_top(self, k: SizeType, agree: Callable[[Pair], Tensor] | None = None) -> Scores:
        """The share of the `k` most important features that both sides have in common and, if given, `agree` upon."""
        sizes, one_size = as_sizes("k", k, self.features.counts)  # [B, K]

        def shares(pair: Pair) -> Tensor:
            found = pair.shares_of_top(sizes[pair.example], None if agree is None else agree(pair))
            return found[..., 0] if one_size else found

        return self.unpack(shares)


def beside_reference(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = "absolute_value",
    aggregate: str = "sum",
    frozen: FrozenType = None,
) -> Pairs:
    check_choice("sign", sign, SIGNS)
    x = as_tuple(inputs)
    methods = as_attributions(attributions, inputs)
    reference = attribution_maps(reference_attributions, x, "reference_attributions")
    features = Features(inputs, Attributions(None, (reference, *methods.maps)), None, feature_mask, frozen)
    totals = features.totals_by_method(aggregate, ["reference_attributions", *methods.labels])
    return Pairs(methods, features, totals, sign)
