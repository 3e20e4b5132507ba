"""Maximum sensitivity (Yeh et al. 2019) and Captum's default perturbation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .._core.arguments import TensorOrTuple, Tensors, as_tuple, check_count
from .._core.captum import Explanation
from .._core.card import metric
from .._core.draws import SeedType, draw_seeds
from .._core.forward import Batches, Rows
from .._core.perturbations import (
    by_example,
    call_by_call,
    check_perturb_func,
    draws_per_call,
    in_ball,
    perturbed,
    takes_radius,
    whole,
)
from .._core.statistics import ratio, wide

NORMS = {"fro": 2.0, "nuc": 2.0}  # of a vector both are its Euclidean length


def default_perturb_func(inputs: TensorOrTuple, perturb_radius: float = 0.02) -> Tensors:
    r"""Moves every element by uniform noise in `[-perturb_radius, perturb_radius]`: a random point of the L-infinity ball around each row.

    Each row draws by itself, in the type and place of the inputs, from seeds that `torch.manual_seed` governs. Always a tuple, as in Captum.

    Example:
        >>> (moved,) = default_perturb_func(torch.zeros(4, 3), 0.1)
        >>> moved.shape, bool(moved.abs().max() <= 0.1)
        (torch.Size([4, 3]), True)
    """
    x = as_tuple(inputs)
    return next(in_ball(x, perturb_radius, draw_seeds(None, len(x[0]), 1), lambda: len(x[0])))[0]


@metric(
    family="robustness",
    higher_is_better=False,
    range=(0, float("inf")),
    rows="explanations of B + B n_perturb_samples rows",
    reference="Yeh et al. 2019, arXiv:1901.09392, Definition 3.1",
)
def sensitivity_max(
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = default_perturb_func,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = "fro",
    max_examples_per_batch: int | None = None,
    *,
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor:
    r"""The largest relative change of the explanation over random perturbations of the input: a lower bound of its maximum over the ball.

    .. math:: \max_j \frac{\lVert \phi(x_j') - \phi(x) \rVert}{\lVert \phi(x) \rVert}

    over all elements of the explanation together, those of a tuple side by side. A norm of 0 counts as 1, so a constant explanation scores 0.
    It grows with `n_perturb_samples`: never compare scores of different numbers.

    The arguments are those of `captum.metrics.sensitivity_max`.

    Args:
        explanation_func: an `attribute` method (of input, layer, neuron, NoiseTunnel), a Captum attribution object, which means its
            `attribute`, or a function. It gets a tensor where `inputs` is one, a tuple where that is one, and at most
            `max_examples_per_batch` rows at a time (without it `max(B, 64)`).
        perturb_func: called as Captum calls it: with the radius as second argument if it takes one, on the copies of all examples.
        norm_ord: of the vector norm; `"fro"` and `"nuc"` mean the Euclidean one.
        seed: an int, or one per example, for the draws of `default_perturb_func`; None follows `torch.manual_seed`.
            Another `perturb_func` draws as it likes.
        kwargs: the explanation's. `target`, `additional_forward_args`, `baselines`, `feature_mask` and their layer forms follow the copies
            where they have a row per example; baselines of DeepLiftShap and GradientShap are their whole distribution and stay.

    Returns:
        `[B]`, a ratio, in the type of the explanation. Lower is better. `B + B n` explained rows.

    Raises:
        ValueError, TypeError: a `perturb_func` or an explanation that returns other rows or tensors than it was given, an unknown norm.

    Reference: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392, Definition 3.1.

    Example:
        >>> from captum.attr import Saliency
        >>> saliency = Saliency(lambda x: (x**2).sum(1))
        >>> x = torch.ones(2, 3)
        >>> bool(sensitivity_max(saliency, x, perturb_radius=0.1, seed=0).max() <= 0.1)   # the gradient 2 x moves no more than x
        True
    """
    x = as_tuple(inputs)
    n = check_count("n_perturb_samples", n_perturb_samples)
    check_perturb_func(perturb_func)
    order = _norm_order(norm_ord)
    batches, batch = Batches(max_examples_per_batch, len(x[0])), len(x[0])
    explain = Explanation(explanation_func, inputs, kwargs)
    own = perturb_func is default_perturb_func
    seeds = draw_seeds(
        seed if own or seed is not None else 0, batch, n
    )  # another function's draws are left as they were
    calls = [n] if own else draws_per_call(n, batch, max_examples_per_batch)

    def rows() -> Iterator[Rows]:
        if own:
            yield from in_ball(x, perturb_radius, seeds, lambda: batches.limit)
            return
        radius = (perturb_radius,) if takes_radius(perturb_func) else ()
        for copies in call_by_call(x, calls):
            yield perturbed(perturb_func, copies, *radius), copies[1]

    def distance(rows: Tensors, example: Tensor) -> Tensor:
        return _norm(explain(rows, example) - phi[example], order)

    with torch.no_grad():
        phi = torch.cat(list(batches.map(explain, [whole(x)])))  # [B, E]
        moved = by_example(torch.cat(list(batches.map(distance, rows()))), batch, calls)  # [B, n]
        return ratio(moved.amax(1), _norm(phi, order)).to(explain.dtype)


def _norm_order(norm_ord: str | float) -> float:
    if isinstance(norm_ord, (int, float)) and not isinstance(norm_ord, bool):
        return norm_ord
    if norm_ord not in NORMS:
        raise ValueError(f"`norm_ord` must be a number, 'fro' or 'nuc', got {norm_ord!r}.")
    return NORMS[norm_ord]


def _norm(vectors: Tensor, order: float) -> Tensor:
    return torch.linalg.vector_norm(vectors, ord=order, dim=1, dtype=wide(vectors[:0]).dtype)
