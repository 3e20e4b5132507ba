"""The parameter randomisation test by complexity (Hedström et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import TensorOrTuple, flat
from ..._core.card import metric
from ..._core.checks import check_count
from ..._core.explained_maps import MapsOfModels
from ..._core.statistics import ratio
from ._random_weights import check_model, randomized


@metric(
    higher_is_better=True,
    range=(-1, float("inf")),
    rows="explanations of 2 B rows",
    reference="Hedström et al. 2024, arXiv:2401.06465",
)
def efficient_mprt(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    max_examples_per_batch: int | None = None,
    *,
    n_bins: int = 100,
    weights_seed: int = 0,
    **kwargs: Any,
) -> Tensor:
    r"""The relative rise of the explanation's complexity when all parameters of the model are random.

    .. math:: \frac{H(\phi(x; f')) - H(\phi(x; f))}{H(\phi(x; f))}

    where `H` is the entropy of the histogram of a map's values, in bins of equal width from the least value to the
    largest, and `f'` is the model with random parameters.

    Args:
        forward_func: a module, as in `parameter_randomization`, like `explanation_factory`, `weights_seed` and
            `kwargs`.
        n_bins: the number of bins of the histogram.

    Returns:
        `[B]`, a ratio, in the explanation's type (at least float32). Higher is better; a map that is random each time
        scores 0 on average, and a map that does not depend on the model scores exactly 0. NaN where the explanation of
        the model is constant, or one of the two explanations is not finite.

    Raises:
        ValueError, TypeError: a `forward_func` that is not a module with parameters, an object of another
            model as `explanation_factory`, fewer than two bins.

    Quantus can also choose the number of bins by a rule from all maps of the data set; its default is 100 too.

    Reference: Hedström et al. 2024, "Sanity Checks Revisited", arXiv:2401.06465.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> edges = lambda model: lambda x, target: x.diff(dim=1)   # depends on the input alone
        >>> efficient_mprt(model, edges, torch.tensor([[1.0, 3.0, 2.0, 5.0]]), target=0)
        tensor([0.])
    """
    model, bins = check_model(forward_func), check_count("n_bins", n_bins, least=2)
    explained = MapsOfModels(explanation_factory, inputs, max_examples_per_batch, kwargs)
    steps = randomized(model, "full", weights_seed)
    with torch.no_grad(), closing(steps):
        before = _entropy(flat(explained.maps(model, as_it_is=True)), bins)
        after = _entropy(flat(explained.maps(next(steps))), bins)
    return ((after - before) / before.where(before > 0, torch.nan)).to(explained.dtype)


def _entropy(values: Tensor, bins: int) -> Tensor:
    """`[B]`: the entropy of the histogram of each row; nan where a value is not finite."""
    finite = values.isfinite().all(1)
    values = values.where(finite[:, None], 0)
    low, high = values.aminmax(dim=1, keepdim=True)
    index = (ratio(values - low, high - low) * bins).long().clamp(max=bins - 1)
    share = values.new_zeros(len(values), bins).scatter_add_(1, index, torch.ones_like(values)) / values.shape[1]
    return -torch.xlogy(share, share).sum(1).where(finite, torch.nan)
