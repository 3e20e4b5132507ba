"""Impact coverage (Lin et al. 2019): whether an explanation finds the patch that changed the prediction."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._core.arguments import TensorOrTuple, as_tuple
from ..._core.captum import Explanation
from ..._core.card import metric
from ..._core.checks import check_count, check_exact, check_flag, check_real, describe, shape
from ..._core.draws import SeedType, example_seeds
from ..._core.forward import Batches, Forward, copies_of
from ..._core.guard import frames_of_package
from ..._core.sharing import shared
from ..._core.target import NO_CLASS, TargetType, as_target, check_threshold, predicted_class
from ..._core.training import warn_of_training

PatchesType = Mapping[int, Tensor] | Sequence[Tensor]


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="B + B n_attempts at most, and explanations of B rows",
    reference="Lin et al. 2019, arXiv:1910.07387",
)
def impact_coverage(
    forward_func: Callable[..., Any],
    explanation_func: Any,
    inputs: TensorOrTuple,
    patches: PatchesType,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    n_attempts: int = 51,
    fooled_only: bool = True,
    threshold: float | None = None,
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor:
    r"""Overlap of a patch that changes the prediction and the most relevant elements, as many as the patch has.

    .. math:: \frac{|P \cap T|}{|P \cup T|}

    where `P` are the elements under the patch and `T` as many elements of the largest attributions, of the patched
    input for the patch's class. The patch is known to decide, so this is a truth that no annotator has to give.

    Every example gets patches at places of its own, class after class, until the prediction becomes the patch's class,
    and that is neither the class predicted before nor the example's `target`. All methods see the same patched inputs.
    Equal attributions are ordered by their index.

    Args:
        forward_func: the model, with an output for each class; it also gets the `additional_forward_args`.
        explanation_func: as in `sensitivity_max`. It must take `target`, and returns attributions in the shape of
            `inputs` or with one channel, where the elements are positions.
        inputs: one tensor `(B, C, ...)` with positions, such as images or series.
        patches: the patch of each class, `(C, ...)`, that makes the model predict it, as a mapping or a list.
        target: the class of each example, which no patch may have; None for examples without.
        n_attempts: the most patches that an example gets.
        fooled_only: whether examples that no patch fools are NaN. If not, they keep the last patch, as in AttriBench.
        threshold: for a model with one output per row, above which it predicts class 1.
        seed: an int, or one per example, for the places; None follows `torch.manual_seed`.
        kwargs: the explanation's arguments, as in `sensitivity_max`.

    Returns:
        `[B]`, from 0 to 1, in the explanation's type (at least float32). Higher is better; random attributions score
        about `s / (2 - s)` for a patch of the share `s`. NaN where attributions or outputs are. At
        most `B + B n_attempts` model rows, and `B` explained ones.

    Raises:
        ValueError, TypeError: inputs without positions, patches that do not fit these, a `target` with several indices,
            attributions of another shape.

    AttriBench's function of this name reads patches from files and lets a batch share the places.

    Reference: Lin et al. 2019, "Do Explanations Reflect Decisions? A Machine-centric Strategy to Quantify the
    Performance of Explainability Algorithms", arXiv:1910.07387.

    Example:
        >>> brightest = lambda x: x.sum(2)  # a class for each channel of a series
        >>> patches = [torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [9.0, 9.0]])]
        >>> x = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]])
        >>> impact_coverage(brightest, lambda x, target: x.amax(1, keepdim=True), x, patches, seed=0)
        tensor([1.])
    """
    x = _with_positions(inputs)
    seeds, fooled_only = tuple(example_seeds(seed, len(x))), check_flag("fooled_only", fooled_only)
    check_threshold(threshold)
    classes = torch.zeros(len(x), dtype=torch.long, device=x.device)  # set when it is known which patch decides
    explain = Explanation(explanation_func, inputs, {**kwargs, "target": classes})
    attack = _attacked(
        forward_func=forward_func,
        inputs=inputs,
        patches=patches,
        target=target,
        seeds=seeds,
        n_attempts=check_count("n_attempts", n_attempts),
        threshold=threshold,
        additional_forward_args=kwargs.get("additional_forward_args"),
        max_examples_per_batch=max_examples_per_batch,
    )
    classes.copy_(attack.classes)
    warn_of_training(explanation_func, "The model of `explanation_func`")
    example = torch.arange(len(x), device="cpu")
    with torch.no_grad():
        batches = Batches(max_examples_per_batch, len(x))
        phi = torch.cat([part.clone() for part in batches.map(explain, [copies_of((attack.inputs,), example)])])
    (maps,) = explain.maps(phi) if len(explain.shapes) == 1 else (phi,)
    scores = _overlap(_checked(maps, x), attack.under)
    undefined = attack.unknown | ~attack.fooled if fooled_only else attack.unknown
    return scores.masked_fill(undefined.to(scores.device), torch.nan).to(explain.dtype)


@dataclass(frozen=True)
class _Attack:
    """The inputs under a patch, where it is `[B, 1, ...]`, and its class `[B]`.

    `fooled [B]` says whether it changed the prediction, and `unknown [B]` where there was none, as an output is nan.
    """

    inputs: Tensor
    under: Tensor
    classes: Tensor
    fooled: Tensor
    unknown: Tensor


@shared
def _attacked(
    *,
    inputs: TensorOrTuple,
    patches: PatchesType,
    target: TargetType,
    seeds: Sequence[int],
    n_attempts: int,
    threshold: float | None,
    **of_model: Any,
) -> _Attack:
    x = _with_positions(inputs)
    of_class, labels = _as_patches(patches, x), _labels(target, len(x))
    f = Forward(inputs=(x,), **of_model)
    tries = [attempts(of_class, shape(x)[2:], seed) for seed in seeds]
    patched, under = x.clone(), torch.zeros_like(x[:, :1], dtype=torch.bool)
    classes, left = torch.full_like(labels, NO_CLASS), torch.arange(len(x), device="cpu")
    before = _predicted(f.outputs_of_whole(), threshold)
    for _ in range(n_attempts):
        for b in left.tolist():
            classes[b], *start = next(tries[b])
            _put(of_class[int(classes[b])], start, x[b], patched[b], under[b])
        now = _predicted(f.batches.map(f.output, [copies_of((patched,), left)]), threshold)
        wanted = classes[left]
        left = left[(now != wanted) | (before[left] == wanted) | (labels[left] == wanted)]
        if not len(left):
            break
    if len(left):
        what = f"No patch changed the prediction of {len(left)} of {len(x)} images."
        warnings.warn(what, stacklevel=frames_of_package())
    fooled = torch.ones_like(labels, dtype=torch.bool).index_fill(0, left, False)
    return _Attack(patched, under, classes, fooled, before == NO_CLASS)


def attempts(patches: Mapping[int, Tensor], size: Sequence[int], seed: int) -> Iterator[tuple[int, ...]]:
    """The patch's class and where it begins on each axis of the positions, class after class for ever."""
    stream = np.random.default_rng(seed)
    for label, patch in itertools.cycle(patches.items()):
        yield label, *(int(stream.integers(side - extent + 1)) for side, extent in zip(size, shape(patch)[1:]))


def _put(patch: Tensor, start: Sequence[int], x: Tensor, patched: Tensor, under: Tensor) -> None:
    """Writes one example under a patch, and where that is."""
    place: tuple[Any, ...] = (..., *(slice(first, first + extent) for first, extent in zip(start, shape(patch)[1:])))
    patched.copy_(x)[place] = patch
    under.zero_()[place] = True


def _predicted(outputs: Iterable[Tensor], threshold: float | None) -> Tensor:
    """`[rows]`, on the CPU."""
    with torch.no_grad():
        return torch.cat([predicted_class(output, threshold).cpu() for output in outputs])


def _overlap(phi: Tensor, under: Tensor) -> Tensor:
    """`[B]`: that of the patch and as many elements of the largest attributions; nan where an attribution is."""
    patch = under.expand_as(phi).flatten(1)
    order = phi.flatten(1).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(patch.shape[1], device=patch.device) < patch.sum(1, keepdim=True)
    top = torch.zeros_like(patch).scatter_(1, order, first)
    overlap = (patch & top).sum(1).double() / (patch | top).sum(1)
    return overlap.masked_fill(phi.flatten(1).isnan().any(1), torch.nan)


def _with_positions(inputs: TensorOrTuple) -> Tensor:
    x = as_tuple(inputs)
    if len(x) != 1 or x[0].dim() < 3:
        raise ValueError(
            f"`inputs` must be one tensor (B, C, ...) with positions to put a patch at, got {list(map(shape, x))}."
        )
    return x[0]


def _as_patches(patches: Any, x: Tensor) -> dict[int, Tensor]:
    """The patches by class, in the type of the inputs."""
    several = patches if isinstance(patches, Mapping) else dict(enumerate(patches)) if _is_list(patches) else None
    if not several or not all(isinstance(p, Tensor) for p in several.values()):
        raise TypeError(
            "`patches` must be a mapping from classes to tensors, or a list with one per class; got "
            f"{describe(patches)}."
        )
    check_real("`patches` must be", *several.values())
    return {check_count("patches", label, least=0): _as_patch(label, p, x) for label, p in several.items()}


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _as_patch(label: int, patch: Tensor, x: Tensor) -> Tensor:
    extents, size = shape(patch)[1 - x.dim() :], shape(x)[1:]
    if len(extents) != len(size) or extents[0] != size[0] or math.prod(shape(patch)) != math.prod(extents):
        raise ValueError(f"The patch of class {label} must have shape {(size[0], '...')}, got {shape(patch)}.")
    if any(extent > side for extent, side in zip(extents, size)):
        raise ValueError(
            f"`patches`: The patch of class {label}, {extents[1:]}, is larger than the images, {size[1:]}."
        )
    check_exact("patches", patch, x)
    return patch.detach().to(x).reshape(extents)


def _labels(target: TargetType, batch: int) -> Tensor:
    """`[B]`: the class of each example, on the CPU; `NO_CLASS` without one."""
    indices = as_target(target, batch)
    if indices is None:
        return torch.full((batch,), NO_CLASS, device="cpu")
    if indices.shape[1] != 1:
        raise ValueError(f"`target` must be one class for each example, got {target!r}.")
    return indices[:, 0].cpu()


def _checked(phi: Tensor, x: Tensor) -> Tensor:
    if phi.dim() != x.dim() or phi.shape[1] not in (1, x.shape[1]) or phi.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"`explanation_func` must return attributions of images {shape(x)}, with as many channels or one; "
            f"got {shape(phi)}."
        )
    return phi
