"""How fast an explanation changes with the input: the local Lipschitz estimate and continuity."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.arguments import as_norm_order
from ..._core.card import metric
from ..._core.perturbed_explanations import Change, PerturbedExplanations
from ..._core.signature import arguments_like
from ..._core.statistics import ratio
from .sensitivity_max import sensitivity_max


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="explanations of B + B n_perturb_samples rows",
    reference="Alvarez-Melis et al. 2018, arXiv:1806.08049",
    measures=lambda arguments: _changes(*[as_norm_order(arguments["norm_ord"])] * 2),
)
@arguments_like(sensitivity_max)
def local_lipschitz(norm_ord: str | float, **arguments: Any) -> Tensor:
    r"""The largest change of the explanation per change of the input, over random perturbations.

    .. math:: \max_j \frac{\lVert \phi(x_j') - \phi(x) \rVert}{\lVert x_j' - x \rVert}

    This is a lower bound of the explanation's Lipschitz constant near `x`. A copy that equals `x` counts as 0. The
    score grows with `n_perturb_samples`, and its unit is that of the explanation over that of the input: compare
    methods of the same scale, or use `sensitivity_max`, which is relative. Takes the same arguments, raises the same
    errors and costs the same as `sensitivity_max`, with `norm_ord` for both norms.

    Returns:
        `[B]`, in units of the explanation per unit of the input. Lower is better; if an explanation is new noise each
        time, its score grows without bound as the radius shrinks. `B + B n` explained rows. Its standard error is NaN,
        as a maximum grows with every draw.

    Raises:
        ValueError, TypeError: as `sensitivity_max`.

    Reference: Alvarez-Melis et al. 2018, "On the Robustness of Interpretability Methods", arXiv:1806.08049, who
    maximise by Bayesian optimisation. Quantus' `LocalLipschitzEstimate` first divides explanations by the largest value
    of their batch.

    Example:
        >>> local_lipschitz(lambda x: 3 * x, torch.ones(2, 4), seed=0).round(decimals=3)
        tensor([3., 3.])
    """
    order = as_norm_order(norm_ord)
    return _steepest(PerturbedExplanations(**arguments), order, order)


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="explanations of B + B n_perturb_samples rows",
    reference="Montavon et al. 2018, arXiv:1706.07979",
    measures=lambda arguments: _changes(1, 2),
)
@arguments_like(PerturbedExplanations)
def continuity(**arguments: Any) -> Tensor:
    r"""The largest change of the explanation, summed over the features, per distance that the input moves.

    .. math:: \max_j \frac{\lVert \phi(x_j') - \phi(x) \rVert_1}{\lVert x_j' - x \rVert_2}

    over random perturbations of each example: it is `local_lipschitz` with the 1-norm in the numerator. A copy that
    equals `x` counts as 0. The score grows with `n_perturb_samples` and with the number of features.

    Args:
        explanation_func: as in `sensitivity_max`, like the other arguments.
        perturb_func: for example a shift of the image, as the paper plots it; the default is noise in a ball.
        search: `"random"`, `"vertices"` or `"block"`, as in `sensitivity_max`.
        seed: an int, or one per example, for the draws of `default_perturb_func`; None follows `torch.manual_seed`.

    Returns:
        `[B]`, in units of the explanation per unit of the input. Lower is better; if an explanation is new noise each
        time, its score grows without bound as the radius shrinks. `B + B n` explained rows. Its standard error is NaN,
        as a maximum grows with every draw.

    Raises:
        ValueError, TypeError: as `sensitivity_max`.

    Reference: Montavon et al. 2018, "Methods for Interpreting and Understanding Deep Neural Networks",
    arXiv:1706.07979, section 7.1, where the pairs are any two inputs. Quantus' `Continuity` is something else: the
    correlation, over shifts of an image, of patch sums and outputs.

    Example:
        >>> continuity(lambda x: 3 * x, torch.ones(2, 4), lambda x: x + 0.1).round(decimals=3)  # 3 * sqrt(4)
        tensor([6., 6.])
    """
    return _steepest(PerturbedExplanations(**arguments), 1, 2)


def _steepest(copies: PerturbedExplanations, order: float, order_of_inputs: float) -> Tensor:
    slopes = copies.measured(ratio, *_changes(order, order_of_inputs))
    return copies.largest(slopes, copies.explain.dtype)


def _changes(order: float, order_of_inputs: float) -> list[Change]:
    return [Change("explanation", order), Change("inputs", order_of_inputs)]
