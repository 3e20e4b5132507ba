"""Relative stability (Agarwal et al. 2022): an explanation's change per change of input, output or representation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.arguments import Tensors, as_norm_order, flat
from ..._core.card import metric
from ..._core.checks import check_flag, check_positive
from ..._core.forward import Forward
from ..._core.layers import as_layer, joined_outputs, recorded
from ..._core.perturbed_explanations import PerturbedExplanations
from ..._core.signature import arguments_like
from ..._core.statistics import at_least_float32, norm, ratio, score_type
from ..._core.target import NO_CLASS, largest_class

# Maps rows to what is compared, `[rows, K]`, and to the output.
Observe = Callable[[Forward, Tensors, Tensor], tuple[Tensor, Tensor]]


@arguments_like(PerturbedExplanations)
def _largest_change(
    forward_func: Callable[..., Any],
    norm_ord: str | float = "fro",
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    same_class: bool = True,
    eps_min: float = 1e-6,
    observe: Observe,
    change: Callable[[Tensor, Tensor], Tensor],
    **arguments: Any,
) -> Tensor:
    """The largest relative change of the explanation per `change` of what `observe` returns."""
    order = as_norm_order(norm_ord)
    eps_min, same_class = check_positive("eps_min", eps_min), check_flag("same_class", same_class)
    copies = PerturbedExplanations(**arguments)
    of_model = arguments.get("additional_forward_args"), activation, arguments["max_examples_per_batch"]
    f = Forward(forward_func, copies.inputs, None, *of_model)
    seen, output = copies.pairs_of_examples(partial(observe, f))
    predicted, phi = _class(output), copies.of_examples(copies.explain)

    def growth(rows: Tensors, example: Tensor) -> Tensor:
        seen_after, output_after = observe(f, tuple(r.clone() for r in rows), example)
        moved = norm(change(at_least_float32(seen_after), at_least_float32(seen[example])), order).clamp(min=eps_min)
        left_out = same_class & ~_same_class(_class(output_after), predicted[example])
        explained = norm(_relative_change(copies.explain(rows, example), phi[example]), order)
        return (explained / moved).masked_fill(left_out, -torch.inf)

    return copies.largest(copies.of_copies(growth), score_type(copies.explain.dtype, f.dtype))


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and explanations of as many",
    reference="Agarwal et al. 2022, arXiv:2203.06877",
)
@arguments_like(_largest_change, without=("observe", "change"))
def relative_input_stability(**arguments: Any) -> Tensor:
    r"""The largest relative change of the explanation per relative change of the input, within the predicted class.

    .. math:: \max_j \frac{\bigl\lVert (\phi(x) - \phi(x_j')) / \phi(x) \bigr\rVert_p}
              {\max\bigl(\lVert (x - x_j') / x \rVert_p,\, \varepsilon_{\min}\bigr)},
              \qquad \hat y(x_j') = \hat y(x)

    over random perturbations that keep the predicted class, with element-wise divisions. An element of `x` or
    :math:`\phi(x)` that is 0 counts as 1. The score grows with `n_perturb_samples`.

    Args:
        forward_func: the model, for the predicted class: that of the largest output. It gets the
            `additional_forward_args` of `kwargs`.
        explanation_func: as in `sensitivity_max`, like `perturb_func`, `norm_ord` and `kwargs`.
        activation: applied to the model's whole output.
        same_class: whether copies of another predicted class are left out, as are those whose output is NaN. Give False
            for a model that predicts no class; if the model has one output per row, all other copies count anyway.
        eps_min: the least denominator.
        search: `"random"`, `"vertices"` or `"block"`, as in `sensitivity_max`.
        seed: an int, or one per example, for the draws of `default_perturb_func`; None follows `torch.manual_seed`.

    Returns:
        `[B]`, a ratio, in the promoted type of explanation and output (at least float32). Lower is better; if an
        explanation is new noise each time, its score grows without bound as the radius shrinks. NaN where no copy keeps
        the class. `B + B n` model rows and as many explained rows. Its standard error is NaN, as a maximum grows with
        every draw.

    Raises:
        ValueError, TypeError: as `sensitivity_max`, and a model whose output lacks a row for each input row.

    Reference: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", arXiv:2203.06877,
    equation 2. Quantus' `RelativeInputStability` is NaN if any copy changes class, and divides by 1e-6 where an element
    is 0.

    Example:
        >>> x = torch.ones(2, 3)
        >>> relative_input_stability(lambda x: x.sum(1), torch.square, x, lambda x: x + 0.1)  # (1.1^2 - 1) / 0.1
        tensor([2.1000, 2.1000])
    """
    return _largest_change(observe=_inputs_and_output, change=_relative_change, **arguments)


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and explanations of as many",
    reference="Agarwal et al. 2022, arXiv:2203.06877",
)
@arguments_like(relative_input_stability)
def relative_output_stability(**arguments: Any) -> Tensor:
    r"""The largest relative change of the explanation per change of the output, within the predicted class.

    .. math:: \max_j \frac{\bigl\lVert (\phi(x) - \phi(x_j')) / \phi(x) \bigr\rVert_p}
              {\max\bigl(\lVert h(x) - h(x_j') \rVert_p,\, \varepsilon_{\min}\bigr)},
              \qquad \hat y(x_j') = \hat y(x)

    over random perturbations that keep the predicted class, where `h` is the model's whole output after `activation`;
    the paper takes logits. An element of :math:`\phi(x)` that is 0 counts as 1. Takes the same arguments, raises the
    same errors and costs the same as `relative_input_stability`.

    Returns:
        `[B]`, per unit of the output, in the promoted type of explanation and output (at least float32). Lower is
        better; if an explanation is new noise each time, its score grows without bound as the radius shrinks. NaN where
        no copy keeps the class. `B + B n` model rows and as many explained rows. Its standard error is NaN, as a
        maximum grows with every draw.

    Raises:
        ValueError, TypeError: as `relative_input_stability`.

    Reference: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", arXiv:2203.06877,
    equation 5.

    Example:
        >>> x = torch.ones(2, 4)
        >>> relative_output_stability(lambda x: x.sum(1), torch.square, x, lambda x: x + 0.1)  # 2 * 0.21 / 0.4
        tensor([1.0500, 1.0500])
    """
    return _largest_change(observe=_output_twice, change=torch.sub, **arguments)


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and explanations of as many",
    reference="Agarwal et al. 2022, arXiv:2203.06877",
)
@arguments_like(relative_input_stability)
def relative_representation_stability(
    layer: str | nn.Module, forward_func: Callable[..., Any], **arguments: Any
) -> Tensor:
    r"""The largest relative change of the explanation per relative change of a layer's output, within the class.

    .. math:: \max_j \frac{\bigl\lVert (\phi(x) - \phi(x_j')) / \phi(x) \bigr\rVert_p}
              {\max\bigl(\lVert (L(x) - L(x_j')) / L(x) \rVert_p,\, \varepsilon_{\min}\bigr)},
              \qquad \hat y(x_j') = \hat y(x)

    over random perturbations that keep the predicted class, with element-wise divisions. An element of :math:`L(x)` or
    :math:`\phi(x)` that is 0, as after a ReLU, counts as 1.

    Args:
        layer: the layer whose output is :math:`L(x)`: a part of `forward_func`, or its name. A hook records the output
            and is removed afterwards.
        forward_func: as in `relative_input_stability`, like all other arguments.
        activation: applied to the model's whole output, not to the layer's.
        same_class: whether copies of another predicted class are left out.
        eps_min: the least denominator.
        search: `"random"`, `"vertices"` or `"block"`, as in `sensitivity_max`.
        seed: an int, or one per example, for the draws of `default_perturb_func`; None follows `torch.manual_seed`.

    Returns:
        `[B]`, a ratio, in the promoted type of explanation and output (at least float32). Lower is better; if an
        explanation is new noise each time, its score grows without bound as the radius shrinks. NaN where no copy keeps
        the class. `B + B n` model rows and as many explained rows. Its standard error is NaN, as a maximum grows with
        every draw.

    Raises:
        ValueError, TypeError: as `relative_input_stability`, and a `layer` that the model does not have, or whose
            output lacks a row for each input row.

    Reference: Agarwal et al. 2022, "Rethinking Stability for Attribution-based Explanations", arXiv:2203.06877,
    equation 3.

    Example:
        >>> layer = torch.nn.Flatten()
        >>> x = torch.ones(2, 3)
        >>> relative_representation_stability(lambda x: layer(x).sum(1), torch.square, x, layer, lambda x: x + 0.1)
        tensor([2.1000, 2.1000])
    """
    module = as_layer(layer, forward_func)

    def representation_and_output(f: Forward, rows: Tensors, example: Tensor) -> tuple[Tensor, Tensor]:
        with recorded(module) as seen:
            output = f.output(rows, example)
        return joined_outputs(seen, len(example)), output

    return _largest_change(
        forward_func=forward_func, observe=representation_and_output, change=_relative_change, **arguments
    )


def _inputs_and_output(f: Forward, rows: Tensors, example: Tensor) -> tuple[Tensor, Tensor]:
    copies = flat(tuple(r.clone() for r in rows))  # as a model may overwrite its input
    return copies, f.output(rows, example)


def _output_twice(f: Forward, rows: Tensors, example: Tensor) -> tuple[Tensor, Tensor]:
    output = f.output(rows, example)
    return flat((output,)), output


def _relative_change(after: Tensor, before: Tensor) -> Tensor:
    return ratio(after - before, before)


def _class(output: Tensor) -> Tensor:
    """`[rows]`: the predicted class, which is the same for all rows of a model with one output."""
    return largest_class(flat((output,)))


def _same_class(after: Tensor, before: Tensor) -> Tensor:
    return (after == before) & (before != NO_CLASS)
