"""The arguments that most metrics share: a model, a batch, attributions of one or several methods, and baselines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor

from .arguments import (
    AttributionsType,
    BaselinesType,
    FeatureMaskType,
    FrozenType,
    InputsType,
    Scores,
    as_attributions,
    as_feature_mask,
    baseline_values,
    of_batch,
    stacked,
)
from .estimates import Noise
from .features import Features
from .forward import Forward
from .interpretable import as_present
from .target import TargetType


class Setting:
    """Checks the shared arguments and prepares what a metric computes with.

    `x` has the features of the batch, `totals` their attributions by each method, `phi` the same as one tensor
    `[methods, B, F]`, and `f` scores copies of the batch.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: InputsType,
        attributions: AttributionsType,
        baselines: BaselinesType = None,
        feature_mask: FeatureMaskType = None,
        additional_forward_args: Any = None,
        target: TargetType = None,
        max_examples_per_batch: int | None = None,
        *,
        activation: Callable[[Tensor], Tensor] | None = None,
        aggregate: str = "sum",
        frozen: FrozenType = None,
        show_progress: bool = False,
    ):
        self.methods = as_attributions(attributions, inputs, target)
        if hasattr(forward_func, "check_explained"):
            forward_func.check_explained(inputs, attributions)
        present = as_present(inputs)
        baselines = of_batch(baselines, present, baseline_values)
        feature_mask = of_batch(feature_mask, present, as_feature_mask)
        self.x = Features(inputs, self.methods, baselines, feature_mask, frozen)
        x = self.x.inputs
        self.f = Forward(
            forward_func, x, target, additional_forward_args, activation, max_examples_per_batch, show_progress
        )
        self.totals = self.x.totals_by_method(aggregate)

    @cached_property
    def phi(self) -> Tensor:
        return stacked([self.totals.of(method) for method in range(self.totals.methods)])

    def unpack(self, scores: Tensor, noise: Callable[[], Noise] | None = None) -> Scores:
        """Returns scores `[methods, B, ...]` as a tensor, or by name where the attributions were given by name."""
        return self.methods.unpack(scores, self.f.dtype, noise=noise)
