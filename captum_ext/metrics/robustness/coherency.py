"""Coherency (Poppi et al. 2021): whether what an explanation shows is explained as the whole input was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import TensorOrTuple, as_tuple, check_are_maps, flat
from ..._core.captum import Explanation
from ..._core.card import metric
from ..._core.checks import check_floating
from ..._core.explained_maps import mean_maps
from ..._core.forward import Batches, whole
from ..._core.scaled import seen_through
from ..._core.statistics import between_rows, pearson, wide
from ..._core.training import warn_of_training


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="explanations of 2 B rows",
    reference="Poppi et al. 2021, arXiv:2104.10252",
)
def coherency(
    explanation_func: Any, inputs: TensorOrTuple, max_examples_per_batch: int | None = None, **kwargs: Any
) -> Tensor:
    r"""The correlation of the explanation with that of the input as it is shown through the explanation.

    .. math:: \frac{1 + \operatorname{corr}\bigl(\phi(x),\, \phi(m \odot x)\bigr)}{2}, \qquad
        m = \frac{\phi(x) - \min \phi(x)}{\max \phi(x) - \min \phi(x)}

    Pearson's correlation over all elements of the map. `average_drop` shows the input in the same way, on a baseline
    of 0. Together with `average_drop` and `share_shown` this is a part of the paper's ADCC.

    Args:
        explanation_func: as in `sensitivity_max`. Its maps have the shape of `inputs`, or one channel.
        kwargs: the explanation's arguments, as in `sensitivity_max`. `baselines` are those of the explanation.

    Returns:
        `[B]`, from 0 to 1, in the explanation's type (at least float32). Higher is better; a map that does not depend
        on the input scores 1, a map that is random each time 0.5. NaN where one of the two maps is constant.
        Explanations of `2 B` rows.

    Raises:
        ValueError, TypeError: as `sensitivity_max`; maps of another shape than the inputs, inputs of an integer type.

    The paper's code scores 0 where a map has a NaN.

    Reference: Poppi et al. 2021, "Revisiting The Evaluation of Class Activation Mapping for Explainability",
    arXiv:2104.10252.

    Example:
        >>> x = torch.tensor([[0.0, 1.0, 2.0]])
        >>> coherency(torch.neg, x)  # the map -x shows 0, 0.5, 0, whose map is 0, -0.5, 0
        tensor([0.5000])
    """
    x = as_tuple(inputs)
    check_floating(x, "maps scale them")
    explain, batches = Explanation(explanation_func, inputs, kwargs), Batches.of_explanations(max_examples_per_batch, x)
    warn_of_training(explanation_func, "The model of `explanation_func`")
    with torch.no_grad():
        phi = explain.maps(wide(explain.of_examples(batches)))
        check_are_maps(phi, x, "`explanation_func` must return")
        through, _ = seen_through(phi, x, (0.0,) * len(x))
        of_shown = mean_maps(explain, [whole(through)], batches)
    return ((1 + between_rows(pearson, flat(phi), flat(of_shown))) / 2).to(explain.dtype)
