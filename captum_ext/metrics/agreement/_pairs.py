"""Attributions and reference attributions, feature by feature, and how many features or pairs of them agree."""

from __future__ import annotations

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
from ..._core.features import SIGNS, Features
from ..._core.sizes import SizeType, as_sizes
from ..._core.statistics import count_pairs, wide


@dataclass(frozen=True)
class Pair:
    """Attributions of features, `a [methods, B, F]`, and of the reference, `b [1, B, F]`, `where [B, F]` they exist."""

    methods: Attributions
    features: Features
    a: Tensor
    b: Tensor
    sign: str

    @property
    def where(self) -> Tensor:
        return torch.arange(self.a.shape[-1], device=self.a.device) < self.features.counts.to(self.a.device)[:, None]

    @property
    def importances(self) -> tuple[Tensor, Tensor]:
        """What features are ranked by."""
        return SIGNS[self.sign](self.a), SIGNS[self.sign](self.b)

    @property
    def ranks(self) -> tuple[Tensor, Tensor]:
        """From 0 for the most important feature; equal ones are ordered by their index."""
        a, b = self.importances
        return self.features.ranks(a), self.features.ranks(b)

    @property
    def same_sign(self) -> Tensor:
        return self.a.sign() == self.b.sign()

    @property
    def same_rank(self) -> Tensor:
        a, b = self.ranks
        return a == b

    def share_of_top(self, k: SizeType, agree: Tensor | None = None) -> Scores:
        """The share of the `k` most important features that both sides have in common and, if given, `agree` upon."""
        sizes, one_size = as_sizes("k", k, self.features.counts)
        sizes = sizes.to(self.a.device)  # [B, K]
        worse = torch.maximum(*self.ranks)  # below k if a feature is at the top on both sides
        if agree is not None:
            worse = worse.masked_fill(~agree, worse.shape[-1])
        found = torch.searchsorted(worse.sort(-1).values, sizes.expand(len(worse), -1, -1).int().contiguous())
        shares = wide(found) / sizes
        return self.unpack(shares[..., 0] if one_size else shares)

    @property
    def share_of_agreeing_pairs(self) -> Scores:
        """The share of pairs of features that both sides order alike, or both tie."""
        pairs = count_pairs(*self.importances, self.where)
        tied_in_one = pairs.tied_in_a + pairs.tied_in_b - 2 * pairs.tied_in_both
        return self.unpack(wide(pairs.all - pairs.discordant - tied_in_one) / pairs.all)

    def unpack(self, scores: Tensor) -> Scores:
        return self.methods.unpack(scores)


def beside_reference(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = "absolute_value",
    aggregate: str = "sum",
    frozen: FrozenType = None,
) -> Pair:
    check_choice("sign", sign, SIGNS)
    x = as_tuple(inputs)
    methods = as_attributions(attributions, inputs)
    reference = attribution_maps(reference_attributions, x, "reference_attributions")
    features = Features(inputs, Attributions(None, (reference, *methods.maps)), None, feature_mask, frozen)
    totals = features.totals(aggregate, ["reference_attributions", *methods.labels])  # [1 + methods, B, F]
    return Pair(methods, features, totals[1:], totals[:1], sign)
