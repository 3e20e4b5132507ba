"""Maximum sensitivity (Yeh et al. 2019) and Captum's default perturbation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.arguments import as_norm_order
from ..._core.card import metric
from ..._core.perturbations import default_perturb_func as default_perturb_func
from ..._core.perturbed_explanations import Change, PerturbedExplanations
from ..._core.signature import arguments_like
from ..._core.statistics import norm, ratio


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="explanations of B + B n_perturb_samples rows",
    reference="Yeh et al. 2019, arXiv:1901.09392, Definition 3.1",
    measures=lambda arguments: [Change("explanation", as_norm_order(arguments["norm_ord"]))],
)
@arguments_like(PerturbedExplanations)
def sensitivity_max(norm_ord: str | float = "fro", **arguments: Any) -> Tensor:
    r"""The largest relative change of the explanation over random perturbations of the input.

    .. math:: \max_j \frac{\lVert \phi(x_j') - \phi(x) \rVert}{\lVert \phi(x) \rVert}

    with norms over all elements of the explanation, across the tensors of a tuple. This is a lower bound of the maximum
    over the ball of radius `perturb_radius`. A norm of 0 counts as 1, so a constant explanation scores 0. The score
    grows with `n_perturb_samples`: only compare scores with the same number.

    The arguments are those of `captum.metrics.sensitivity_max`.

    Args:
        explanation_func: a function, an `attribute` method (of an input, layer or neuron method, or NoiseTunnel), or a
            Captum attribution object, whose `attribute` is called. It gets a tensor or a tuple, as `inputs` is, and at
            most `max_examples_per_batch` rows at a time (by default `max(B, 64)`).
        perturb_func: called as in Captum, on the copies of all examples, with the radius as second argument if it takes
            one.
        norm_ord: the order of the vector norm; `"fro"` and `"nuc"` mean the Euclidean norm.
        search: where the copies of `default_perturb_func` lie. `"random"`: anywhere in the ball, as in Captum.
            `"vertices"`: at random corners of the ball, where a linear explanation changes most. `"block"`: the search
            starts at a random corner and moves halves of the elements, then quarters and so on, to the other side if
            that makes the score larger. It takes `n_perturb_samples` rounds, and finds large values with few copies.
        seed: an int, or one per example, for the draws of `default_perturb_func`; None follows `torch.manual_seed`. Any
            other `perturb_func` controls its own random numbers.
        kwargs: the explanation's arguments. `target`, `additional_forward_args`, `baselines`, `feature_mask` and their
            forms for layers are repeated with the copies if they have a row per example. The baselines of DeepLiftShap
            and GradientShap are a distribution and are passed whole.

    Returns:
        `[B]`, a ratio, in the explanation's type (at least float32). Lower is better. `B + B n` explained rows. Its
        standard error is NaN, as a maximum grows with every draw.

    Raises:
        ValueError, TypeError: a `perturb_func` or an explanation whose results do not match the rows and tensors it
            got, an unknown norm.

    Reference: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392, Definition 3.1.

    Example:
        >>> from captum.attr import Saliency
        >>> saliency = Saliency(lambda x: (x**2).sum(1))
        >>> x = torch.ones(2, 3)
        >>> # The gradient is 2 x, so its relative change is no larger than that of x.
        >>> bool(sensitivity_max(saliency, x, perturb_radius=0.1, seed=0).max() <= 0.1)
        True
    """
    order = as_norm_order(norm_ord)
    copies = PerturbedExplanations(**arguments)
    size = norm(copies.phi, order)  # [B]
    moved = copies.measured(lambda moved: moved, Change("explanation", order))  # [B, n]
    relative = ratio(moved, size[:, None])
    return copies.largest(relative, copies.explain.dtype)
