"""The parameter randomisation test (Adebayo et al. 2018)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.card import metric
from ..._core.signature import arguments_like
from ._similarity import similarities
from ._similarity_curve import similarity_curve, steps

REFERENCE = "Adebayo et al. 2018, arXiv:1810.03292"
ROWS = "explanations of B + B layers rows"


@metric(
    higher_is_better=None,
    range=(-1, 1),
    rows=ROWS,
    reference=REFERENCE,
    axis=("step", steps),
    measures=similarities,
)
@arguments_like(similarity_curve, without=("copies", "settings_of_copies"))
def parameter_randomization_curve(**arguments: Any) -> Tensor:
    r"""The similarity of explanations of the model and of the model with more and more random layers.

    .. math:: s_l = \operatorname{sim}\bigl(\phi(x; f),\ \phi(x; f_l)\bigr)

    where `f_l` is the randomised model after the l-th step. Takes the same arguments, raises the same
    errors and costs the same as `parameter_randomization`.

    Returns:
        `[B, layers]`, without a unit, in the explanation's type (at least float32). It falls early for a good
        explanation. NaN where the similarity is undefined.

    Raises:
        ValueError, TypeError: as `parameter_randomization`.

    Reference: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292.

    Example:
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> parameter_randomization_curve(model, Saliency, torch.ones(2, 4), target=0).shape
        torch.Size([2, 2])
    """
    return similarity_curve(**arguments)


@metric(higher_is_better=False, range=(-1, 1), rows=ROWS, reference=REFERENCE, measures=similarities)
@arguments_like(parameter_randomization_curve)
def parameter_randomization(**arguments: Any) -> Tensor:
    r"""The mean similarity of explanations of the model and of the model with random parameters.

    .. math:: \frac1L \sum_{l=1}^{L} \operatorname{sim}\bigl(\phi(x; f),\ \phi(x; f_l)\bigr)

    where `f_l` is the randomised model after the l-th of `L` steps. An explanation that depends on the
    model cannot stay the same. A layer is a module with parameters of its own, in the order of registration. Its
    `reset_parameters` makes it random; parameters that this leaves as they were, or of a module without it, are drawn
    from a normal distribution with their mean and standard deviation. So all parameters are random in the end.
    Then the model gets its own tensors back, also where an explanation raises. Until then, other threads must not use
    the model; another randomisation of it waits.

    Args:
        forward_func: a module.
        explanation_factory: a Captum class, or a function of a model that returns an explanation of it (a Captum
            object, or a function with Captum's arguments), which is called with `forward_func`, and again at each step;
            or a Captum object of `forward_func` itself. Each explanation gets at most `max_examples_per_batch` rows at
            a time.
        order: `"top_down"` or `"bottom_up"`: layers become and stay random one after the other, beginning with the last
            or the first; `"independent"`: only one layer is random at a time; `"full"`: all become random in one step.
        similarity: `"spearman"`, `"pearson"`, `"ssim"` (of images and their channels, each map divided by its largest
            absolute value), `"hog"` (Pearson correlation of histograms of oriented gradients), or a function that maps
            two batches of maps to `[B]`.
        absolute: whether to compare absolute values.
        weights_seed: the seed of the random parameters, which are the same for all examples, batches, devices and
            processes.
        kwargs: the explanation's arguments, as in `sensitivity_max`.

    Returns:
        `[B]`, without a unit, in the explanation's type (at least float32): the mean over the steps at which the
        similarity is defined. Lower is better; a map that is random each time scores 0, a map that does not depend on
        the model scores 1. NaN where no step has a similarity, such as the correlation with a constant map.

    Raises:
        ValueError, TypeError: a `forward_func` that is not a module with parameters, or is a scripted, frozen or
            exported one, an object of another model as `explanation_factory`, an unknown `similarity` or `order`, maps
            that are not images for `"ssim"` or `"hog"`.

    Quantus (MPRT) only randomises modules with `reset_parameters`, all with the same seed, and by default compares
    absolute values (`absolute=True`). AttriBench's value is that of `order="full"`. Give Captum's LRP and its methods
    for layers as `lambda model: ...`.

    Reference: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292.

    Example:
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> edges = lambda model: lambda x, target: x.diff(dim=1)   # depends on the input alone
        >>> x = torch.tensor([[1.0, 3.0, 2.0, 5.0]])
        >>> parameter_randomization(model, edges, x, target=0)
        tensor([1.])
    """
    return parameter_randomization_curve(**arguments).nanmean(1)
