"""The features' attributions, for metrics that look at nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..._core.arguments import (
    Attributions,
    AttributionsType,
    FeatureMaskType,
    FrozenType,
    InputsType,
    Scores,
    as_attributions,
)
from ..._core.features import Features, Totals, in_parts
from ..._core.statistics import wide


@dataclass(frozen=True)
class Attributed:
    """The features' attributions by each method."""

    methods: Attributions
    totals: Totals
    counts: Tensor  # [B]: how many features there are
    width: int

    def unpack(self, score: Callable[[Tensor, Tensor], Tensor]) -> Scores:
        """The scores `[1, b]` that a function makes of attributions `[1, b, F]` and numbers of features `[b, 1]`.

        Features that an example lacks come last and are 0.
        """

        def of_part(method: int, examples: slice) -> Tensor:
            return score(wide(self.totals.of(method, examples))[None], self.counts[examples, None])

        return self.methods.unpack(in_parts(self.totals.methods, len(self.counts), self.width, of_part))


def attributed(
    inputs: InputsType,
    attributions: AttributionsType,
    feature_mask: FeatureMaskType = None,
    *,
    aggregate: str = "sum",
    frozen: FrozenType = None,
) -> Attributed:
    methods = as_attributions(attributions, inputs)
    x = Features(inputs, methods, feature_mask=feature_mask, frozen=frozen)
    return Attributed(methods, x.totals_by_method(aggregate), x.counts.to(x.inputs[0].device), x.width)
