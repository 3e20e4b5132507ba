"""The random logit test (Sixt et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import TensorOrTuple, as_tuple
from ..._core.captum import Explanation
from ..._core.card import metric
from ..._core.checks import check_count
from ..._core.draws import SeedType, draw_seeds
from ..._core.forward import Batches
from ..._core.statistics import wide
from ..._core.target import TargetType, as_target
from ..._core.training import warn_of_training
from ._similarity import SimilarityType, as_similarity


@metric(
    higher_is_better=False,
    range=(-1, 1),
    rows="explanations of 2 B rows",
    reference="Sixt et al. 2020, arXiv:1912.09818",
)
def random_logit(
    explanation_func: Any,
    inputs: TensorOrTuple,
    target: TargetType,
    n_classes: int,
    max_examples_per_batch: int | None = None,
    *,
    similarity: SimilarityType = "spearman",
    absolute: bool = False,
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor:
    r"""The similarity of the explanations of the target and of another, random class.

    .. math:: \operatorname{sim}(\phi(x, c),\ \phi(x, c')), \qquad c' \sim U(\{0, \ldots, C - 1\} \setminus \{c\})

    An explanation that depends on the class cannot stay the same.

    Args:
        explanation_func: as in `sensitivity_max`. It must take `target`, which is a tensor with a class for each row.
        target: a class for each example, in any of Captum's forms.
        n_classes: `C`, the number of classes.
        similarity: `"spearman"`, `"pearson"`, `"ssim"`, `"hog"` or a function, as in `parameter_randomization`, like
            `absolute`.
        seed: an int, or one per example, for the draw of the other class; None follows `torch.manual_seed`.
        kwargs: the explanation's arguments, as in `sensitivity_max`.

    Returns:
        `[B]`, without a unit, in the explanation's type (at least float32). Lower is better; a map that is random each
        time scores 0, a map that does not depend on the class scores 1. NaN where the similarity is undefined, such as
        the correlation with a constant map. If one logit is the negative of the other, their gradients score -1: with
        two classes, consider `absolute=True`.

    Raises:
        ValueError, TypeError: a `target` that is missing, has several indices or is out of range, fewer than two
            classes, an unknown `similarity`.

    Quantus draws the same other classes for every batch, as it sets its seed again each time.

    Reference: Sixt et al. 2020, "When Explanations Lie: Why Many Modified BP Attributions Fail", arXiv:1912.09818.

    Example:
        >>> edges = lambda x, target: x.diff(dim=1)   # depends on the input alone
        >>> random_logit(edges, torch.tensor([[1.0, 3.0, 2.0, 5.0]]), target=0, n_classes=10)
        tensor([1.])
    """
    x, similar = as_tuple(inputs), as_similarity(similarity, absolute)
    batch, batches = len(x[0]), Batches.of_explanations(max_examples_per_batch, x)
    classes = check_count("n_classes", n_classes, least=2)
    own = _class_of_each(target, classes, batch)
    step = 1 + draw_seeds(seed, batch, 1)[:, 0] % (classes - 1)
    warned: set[str] = set()
    explanations = [
        Explanation(explanation_func, inputs, {**kwargs, "target": c.to(x[0].device)}, warned=warned)
        for c in (own, (own + step.to(own.device)) % classes)
    ]
    warn_of_training(explanation_func, "The model of `explanation_func`")
    with torch.no_grad():
        maps = [explain.maps(wide(explain.of_examples(batches))) for explain in explanations]
    return similar(*maps).to(explanations[0].dtype)


def _class_of_each(target: TargetType, classes: int, batch: int) -> Tensor:
    """`[B]`: each example's class, counted from 0."""
    indices = as_target(target, batch)
    if indices is None or indices.shape[1] != 1:
        raise ValueError(
            f"`target` must be one class for each example, got {target!r}. "
            "Without a class there is no other one to compare with."
        )
    own = indices[:, 0]
    if not own.is_meta and ((own >= classes) | (own < -classes)).any():
        raise ValueError(f"`target` must lie within the {classes} classes of `n_classes`, got {own.tolist()}.")
    return own % classes
