"""How explanations change as layers of the model become random: what the randomisation tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.arguments import TensorOrTuple
from ..._core.explained_maps import Copies, MapsOfModels, each_once
from ..._core.sharing import shared_as, wanted
from ._random_weights import check_model, layers, randomized
from ._similarity import Similarity, SimilarityType, as_similarity


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
    settings_of_copies: tuple[Any, ...] | None = (),
    **kwargs: Any,
) -> Tensor:
    """`[B, layers]`: the similarity of the model's maps and those with more random parameters after each step.

    Copies with other settings are others, and those with None could not be made again.
    """
    model = check_model(forward_func)
    similar = as_similarity(similarity, absolute)
    explained = MapsOfModels(explanation_factory, inputs, max_examples_per_batch, kwargs, copies)
    steps = randomized(model, order, weights_seed)
    settings = order, weights_seed, max_examples_per_batch, settings_of_copies
    key = "similarities", explained.key_of(model), settings
    known: dict[Similarity, Tensor] = {} if settings_of_copies is None else shared_as(key, dict)
    if similar not in known:
        with torch.no_grad(), closing(steps):
            known |= _curves(explained, model, steps, similar)
    return known[similar]


def _curves(
    explained: MapsOfModels, model: nn.Module, steps: Iterable[nn.Module], similar: Similarity
) -> dict[Similarity, Tensor]:
    """The curve of one similarity, and those that other metrics will want, as the maps are not kept."""
    phi = explained.maps(model, as_it_is=True)
    curves: dict[Similarity, list[Tensor]] = {s: [] for s in (similar, *wanted(Similarity))}
    for randomised in steps:
        maps = explained.maps(randomised)
        curves[similar].append(similar(phi, maps))
        for other in curves.keys() - {similar}:
            try:
                curves[other].append(other(phi, maps))
            except Exception:  # raised again where that metric is computed
                del curves[other]
    return {s: torch.stack(curve, 1).to(explained.dtype) for s, curve in curves.items()}


def steps(arguments: dict[str, Any]) -> Sequence[float] | None:
    """The numbers of the steps, if the model is among a metric's arguments."""
    if "forward_func" not in arguments:
        return None
    return range(1 if arguments["order"] == "full" else len(layers(arguments["forward_func"])))
