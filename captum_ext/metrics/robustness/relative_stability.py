"""Relative stability (Agarwal et al. 2022): an explanation's change per change of input, output or representation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.arguments import Tensors, as_norm_order, flat
from ..._core.card import Measures, metric
from ..._core.checks import check_flag, check_positive
from ..._core.forward import Forward
from ..._core.layers import as_layer, joined_outputs, recorded
from ..._core.perturbed_explanations import Change, PerturbedExplanations, Seen
from ..._core.signature import arguments_like
from ..._core.statistics import score_type
from ..._core.target import NO_CLASS, largest_class


@dataclass(frozen=True)
class SameClass:
    """Whether a copy has the predicted class of its example, by the last of what was observed, the model's output."""

    of: str

    def __call__(self, after: Seen, before: Seen) -> Tensor:
        one, other = _class(after[-1]), _class(before[-1])
        return (one == other) & (other != NO_CLASS)


@arguments_like(PerturbedExplanations)
def _largest_change(
    forward_func: Callable[..., Any],
    norm_ord: str | float = "fro",
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    same_class: bool = True,
    eps_min: float = 1e-6,
    layer: nn.Module | None,
    change: tuple[str, bool],
    **arguments: Any,
) -> Tensor:
    """The largest relative change of the explanation per `change` of the inputs, the output or the layer."""
    order = as_norm_order(norm_ord)
    eps_min, same_class = check_positive("eps_min", eps_min), check_flag("same_class", same_class)
    copies = PerturbedExplanations(**arguments)
    of_model = arguments.get("additional_forward_args"), activation, arguments["max_examples_per_batch"]
    f = Forward(forward_func, copies.inputs, None, *of_model)
    observed, settings = "output" if layer is None else "layer", (forward_func, activation, of_model[0], layer)
    if layer is None:
        of_examples = lambda: map(_beside_itself, f.outputs_of_whole())  # noqa: E731
        copies.observe(observed, f, lambda *rows: _beside_itself(f.output(*rows)), settings, of_examples)
    else:
        copies.observe(observed, f, partial(_layer_and_output, layer, f), settings)

    def growth(same: Tensor, moved: Tensor, explained: Tensor) -> Tensor:
        return (explained / moved.clamp(min=eps_min)).masked_fill(same_class & ~same, -torch.inf)

    growths = copies.measured(growth, SameClass(observed), *_changes(order, *change))
    return copies.largest(growths, score_type(copies.explain.dtype, copies.seen(observed)[-1].dtype))


def _changes(order: float, of: str, relative: bool) -> list[Change]:
    return [Change(of, order, relative), Change("explanation", order, relative=True)]


def _measures(of: str, relative: bool) -> Measures:
    return lambda arguments: _changes(as_norm_order(arguments["norm_ord"]), of, relative)


def _beside_itself(output: Tensor) -> Seen:
    """The elements of the output, and the output."""
    return flat((output,)), output


def _layer_and_output(layer: nn.Module, f: Forward, rows: Tensors, example: Tensor) -> Seen:
    with recorded(layer) as seen:
        output = f.output(rows, example)
    return joined_outputs(seen, len(example)), output


OF_INPUTS, OF_OUTPUT, OF_LAYER = ("inputs", True), ("output", False), ("layer", True)


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and explanations of as many",
    reference="Agarwal et al. 2022, arXiv:2203.06877",
    measures=_measures(*OF_INPUTS),
)
@arguments_like(_largest_change, without=("layer", "change"))
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
    return _largest_change(layer=None, change=OF_INPUTS, **arguments)


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and explanations of as many",
    reference="Agarwal et al. 2022, arXiv:2203.06877",
    measures=_measures(*OF_OUTPUT),
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
    return _largest_change(layer=None, change=OF_OUTPUT, **arguments)


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and explanations of as many",
    reference="Agarwal et al. 2022, arXiv:2203.06877",
    measures=_measures(*OF_LAYER),
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
    return _largest_change(forward_func=forward_func, layer=module, change=OF_LAYER, **arguments)


def _class(output: Tensor) -> Tensor:
    """`[rows]`: the predicted class, which is the same for all rows of a model with one output."""
    return largest_class(flat((output,)))
