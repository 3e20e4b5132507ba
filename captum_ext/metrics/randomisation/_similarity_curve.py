"""How explanations change as layers of the model become random: what the randomisation tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import TensorOrTuple
from ..._core.explained_maps import Copies, MapsOfModels, each_once
from ._random_weights import check_model, layers, randomized
from ._similarity import SimilarityType, as_similarity


def similarity_curve(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    max_examples_per_batch: int | None = None,
    *,
    order: str = "top_down",
    similarity: SimilarityType = "spearman",
    absolute: bool = False,
    weights_seed: int = 0,
    copies: Copies = each_once,
    **kwargs: Any,
) -> Tensor:
    """`[B, layers]`: the similarity of the model's maps and those with more random parameters after each step."""
    model = check_model(forward_func)
    similar = as_similarity(similarity, absolute)
    explained = MapsOfModels(explanation_factory, inputs, max_examples_per_batch, kwargs, copies)
    steps = randomized(model, order, weights_seed)
    with torch.no_grad(), closing(steps):
        phi = explained.maps(model)
        curve = [similar(phi, explained.maps(randomised)) for randomised in steps]
    return torch.stack(curve, 1).to(explained.dtype)


def steps(arguments: dict[str, Any]) -> Sequence[float] | None:
    """The numbers of the steps, if the model is among a metric's arguments."""
    if "forward_func" not in arguments:
        return None
    return range(1 if arguments["order"] == "full" else len(layers(arguments["forward_func"])))
