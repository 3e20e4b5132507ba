"""The parameter randomisation test of denoised explanations (Hedström et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ..._core.arguments import TensorOrTuple, as_tuple
from ..._core.card import metric
from ..._core.checks import check_count, check_floating, check_not_negative
from ..._core.draws import SeedType, draw_seeds
from ..._core.perturbations import with_gaussian_noise
from ..._core.signature import arguments_like
from ._similarity import similarities
from ._similarity_curve import similarity_curve, steps

REFERENCE = "Hedström et al. 2024, arXiv:2401.06465"
ROWS = "explanations of (B + B layers) n_perturb_samples rows"


@metric(
    higher_is_better=None,
    range=(-1, 1),
    rows=ROWS,
    reference=REFERENCE,
    axis=("step", steps),
    measures=similarities,
)
@arguments_like(similarity_curve, without=("copies", "settings_of_copies"), order="bottom_up")
def smooth_mprt_curve(
    inputs: TensorOrTuple,
    n_perturb_samples: int = 50,
    *,
    noise_level: float = 0.1,
    seed: SeedType = None,
    **arguments: Any,
) -> Tensor:
    r"""The similarity of denoised explanations of the model and of the model with more and more random layers.

    .. math:: s_l = \operatorname{sim}\Bigl(\frac1n \sum_j \phi(x + \epsilon_j; f),\
        \frac1n \sum_j \phi(x + \epsilon_j; f_l)\Bigr)

    where `f_l` is the randomised model after the l-th step. Takes the same arguments, raises the same
    errors and costs the same as `smooth_mprt`.

    Returns:
        `[B, layers]`, without a unit, in the explanation's type (at least float32). It falls early for a good
        explanation. NaN where the similarity is undefined.

    Raises:
        ValueError, TypeError: as `smooth_mprt`.

    Reference: Hedström et al. 2024, "Sanity Checks Revisited", arXiv:2401.06465.

    Example:
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> smooth_mprt_curve(model, Saliency, torch.rand(2, 4), target=0, seed=0).shape
        torch.Size([2, 2])
    """
    x, draws = as_tuple(inputs), check_count("n_perturb_samples", n_perturb_samples)
    check_floating(x, "noise is added to them")
    seeds = draw_seeds(seed, len(x[0]), draws)
    noisy = partial(_noisy, check_not_negative("noise_level", noise_level), seeds)
    settings = None if seed is None else (noise_level, draws, seed)
    return similarity_curve(inputs=inputs, copies=noisy, settings_of_copies=settings, **arguments)


@metric(higher_is_better=False, range=(-1, 1), rows=ROWS, reference=REFERENCE, measures=similarities)
@arguments_like(smooth_mprt_curve)
def smooth_mprt(**arguments: Any) -> Tensor:
    r"""The mean similarity of denoised explanations of the model and of the model with random parameters.

    .. math:: \frac1L \sum_{l=1}^{L} \operatorname{sim}\Bigl(\frac1n \sum_j \phi(x + \epsilon_j; f),\
        \frac1n \sum_j \phi(x + \epsilon_j; f_l)\Bigr)

    over `L` steps and `n` draws of Gaussian noise, which are the same for every model. Without denoising, the noise of
    gradients alone makes the maps of two models differ.

    Args:
        forward_func: a module, as in `parameter_randomization`, like `explanation_factory`, `order`, `similarity`,
            `absolute`, `weights_seed` and `kwargs`. By default the first layer becomes random first, as the authors
            advise.
        n_perturb_samples: the number of draws of noise for each example.
        noise_level: the standard deviation of the noise, as a fraction of the range of the example's values in each
            tensor.
        seed: an int, or one per example, for the noise; None follows `torch.manual_seed`.

    Returns:
        `[B]`, without a unit, in the explanation's type (at least float32): the mean over the steps at which the
        similarity is defined. Lower is better; a map that is random each time scores 0, a map that does not depend on
        the model scores 1. NaN where no step has a similarity.

    Raises:
        ValueError, TypeError: as `parameter_randomization`, and a `noise_level` below 0.

    Quantus adds no noise to the last of the draws.

    Reference: Hedström et al. 2024, "Sanity Checks Revisited", arXiv:2401.06465.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> edges = lambda model: lambda x, target: x.diff(dim=1)   # depends on the input alone
        >>> x = torch.tensor([[1.0, 3.0, 2.0, 5.0]])
        >>> smooth_mprt(model, edges, x, target=0, seed=0)
        tensor([1.])
    """
    return smooth_mprt_curve(**arguments).nanmean(1)


def _noisy(level: float, seeds: Tensor, x: tuple[Tensor, ...], size: Callable[[], int]) -> Any:
    return with_gaussian_noise(x, level, seeds, size)
