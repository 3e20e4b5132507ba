"""The explanation that minimises infidelity (Yeh et al. 2019): a reference for the metric, not a metric itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    Attributions,
    BaselinesType,
    FeatureMaskType,
    FrozenType,
    TensorOrTuple,
    Tensors,
    as_given,
    as_tuple,
)
from ..._core.features import Features
from ..._core.perturbations import Perturbations
from ..._core.signature import arguments_like


@arguments_like(Perturbations, without=("feature_mask",), after={"feature_mask": "baselines"}, n_perturb_samples=200)
def optimal_explanation(
    inputs: TensorOrTuple,
    baselines: BaselinesType,
    feature_mask: FeatureMaskType = None,
    *,
    frozen: FrozenType = None,
    **arguments: Any,
) -> TensorOrTuple:
    r"""The attributions of least infidelity under the given perturbations, by least squares over the draws.

    .. math:: \phi^* = \Bigl(\sum_j I_j I_j^\top\Bigr)^{+} \sum_j I_j \bigl(f(x) - f(x - I_j)\bigr)

    With a `feature_mask`, one value is found for each feature: the least-squares solution among the maps that are
    constant on features. Images need one, since `n_perturb_samples` should be well above the number of features. With
    fewer draws there are many solutions, and the smallest is returned, which explains these draws and little else.

    No explanation (with a `feature_mask`, none that is constant on features) has a lower `infidelity` for the same
    `perturb_func`, `n_perturb_samples`, `max_examples_per_batch` and `seed`. So it shows how much of a method's
    infidelity could be avoided. As a method in `evaluate` it should see other draws than the metric does.

    Args:
        perturb_func: as in `infidelity`, such as the functions of `captum_ext.perturbations`.
        feature_mask: as in Captum, or a function of the inputs; also passed to a `perturb_func` that takes it.
        frozen: ids of `feature_mask` that get no attribution; also passed to a `perturb_func` that takes it.
        n_perturb_samples: the number of draws; fewer if `perturb_func` has fewer different perturbations, each of which
            is then taken once.
        seed: an int, or one per example, for a `perturb_func` that takes a seed; None follows `torch.manual_seed`.

    Returns:
        Attributions in the shape of `inputs` and the type of the model's output. `B + B n_perturb_samples` model rows,
        and memory for `n_perturb_samples` times `F` numbers per example with `F` features.

    Raises:
        ValueError, TypeError: as `infidelity`.

    Reference: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392.

    Example:
        >>> from captum_ext.perturbations import gaussian
        >>> w = torch.tensor([1.0, -2.0, 3.0])
        >>> optimal_explanation(lambda x: x @ w, gaussian, torch.ones(1, 3), seed=0).round(decimals=3)
        tensor([[ 1., -2.,  3.]])
    """
    x = as_tuple(inputs)
    features = Features(inputs, Attributions(None, (x,)), None, feature_mask, frozen)
    drawn = Perturbations(inputs=inputs, baselines=baselines, feature_mask=feature_mask, frozen=frozen, **arguments)
    moved: list[Tensor] = []

    def sum_up(perturbations: Tensors, example: Tensor) -> None:
        moved.append(features.sums(perturbations, example).unflatten(0, (len(x[0]), -1)))

    observed = drawn.drops(sum_up)  # [B, n]
    phi = _least_squares(torch.cat(moved, 1).to(observed), observed, drawn.f.dtype)  # [B, F]
    grids = features.spread(phi, torch.arange(len(phi), device="cpu"))
    return as_given(tuple(g.to(drawn.f.dtype).expand_as(t).clone() for g, t in zip(grids, x)), inputs)


def _least_squares(moved: Tensor, observed: Tensor, dtype: torch.dtype) -> Tensor:
    """`[B, F]`: the smallest solution. Directions within the rounding of the model's type are left out."""
    rounding = min(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps) * max(moved.shape[1:])
    return (torch.linalg.pinv(moved, rtol=rounding) @ observed[..., None])[..., 0]
