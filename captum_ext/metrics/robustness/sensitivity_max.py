"""Maximum sensitivity (Yeh et al. 2019) and Captum's default perturbation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.arguments import as_norm_order
from ..._core.card import metric
from ..._core.perturbations import default_perturb_func as default_perturb_func
from ..._core.perturbed_explanations import PerturbedExplanations
from ..._core.signature import arguments_like
from ..._core.statistics import norm, ratio


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="explanations of B + B n_perturb_samples rows",
    reference="Yeh et al. 2019, arXiv:1901.09392, Definition 3.1",
)
@arguments_like(PerturbedExplanations)
def sensitivity_max(norm_ord: str | float = "fro", **arguments: Any) -> Tensor:
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
        search: where the copies of `default_perturb_func` lie. `"random"`: anywhere in the ball, as in Captum. `"vertices"`: at random corners
            of it, where a linear explanation moves most. `"block"`: from a random corner, halves of the elements, then quarters and so on, are
            each moved to the other side if that makes the score larger; for the largest value from few copies, in `n_perturb_samples` rounds.
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
    order = as_norm_order(norm_ord)
    copies = PerturbedExplanations(**arguments)
    phi = copies.of_examples(copies.explain)  # [B, E]
    moved = copies.of_copies(lambda rows, example: norm(copies.explain(rows, example) - phi[example], order))  # [B, n]
    return ratio(moved.amax(1), norm(phi, order)).to(copies.explain.dtype)
