"""Average sensitivity (Bhatt et al. 2020)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.arguments import as_norm_order
from ..._core.card import metric
from ..._core.checks import check_choice
from ..._core.estimates import noted, of_mean
from ..._core.perturbed_explanations import Change, PerturbedExplanations
from ..._core.signature import arguments_like
from ..._core.statistics import norm, ratio
from .sensitivity_max import sensitivity_max


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="explanations of B + B n_perturb_samples rows",
    reference="Bhatt et al. 2020, arXiv:2005.00631",
    measures=lambda arguments: [Change("explanation", as_norm_order(arguments["norm_ord"]))],
)
@arguments_like(sensitivity_max)
def sensitivity_avg(norm_ord: str | float, search: str, **arguments: Any) -> Tensor:
    r"""The mean relative change of the explanation over random perturbations of the input.

    .. math:: \frac1n \sum_{j=1}^n \frac{\lVert \phi(x_j') - \phi(x) \rVert}{\lVert \phi(x) \rVert}

    A norm of 0 counts as 1. Unlike the maximum, the mean does not grow with `n_perturb_samples`. Takes the same
    arguments, raises the same errors and costs the same as `sensitivity_max`, except that `search` is `"random"` or
    `"vertices"`.

    Returns:
        `[B]`, a ratio, in the explanation's type (at least float32). Lower is better; an explanation that is new
        Gaussian noise each time scores about :math:`\sqrt 2`. `B + B n` explained rows.

    Raises:
        ValueError, TypeError: as `sensitivity_max`, and a `search` of `"block"`, whose copies are not random draws.

    Reference: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631, their
    average sensitivity with the Euclidean distance, but relative, as in Quantus' `AvgSensitivity` (which has a radius
    of 0.2 and 200 draws).

    Example:
        >>> x = torch.ones(2, 3)
        >>> bool(sensitivity_avg(torch.square, x, seed=0).max() <= sensitivity_max(torch.square, x, seed=0).min() * 2)
        True
    """
    check_choice("search", search, ("random", "vertices"))
    order = as_norm_order(norm_ord)
    copies = PerturbedExplanations(search=search, **arguments)
    size, dtype = norm(copies.phi, order), copies.explain.dtype
    moved = copies.measured(lambda moved: moved, Change("explanation", order))  # [B, n]
    scores = ratio(moved.mean(1), size).to(dtype)
    return noted(scores, lambda: of_mean(ratio(moved, size[:, None])), lambda values: values.to(dtype))
