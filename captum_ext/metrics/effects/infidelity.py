"""Infidelity (Yeh et al. 2019) and Captum's decorator for its perturbations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    Attributions,
    AttributionsType,
    Scores,
    TensorOrTuple,
    Tensors,
    as_attributions,
    as_given,
    as_tuple,
    baseline_values,
    flat,
    stacked,
)
from ..._core.card import metric
from ..._core.checks import check_choice, check_flag, shape
from ..._core.estimates import jackknife
from ..._core.features import AGGREGATES, Features
from ..._core.guard import Guard
from ..._core.perturbations import Perturbations, as_copies, check_perturb_func
from ..._core.signature import arguments_like
from ..._core.statistics import at_least_float32, difference, ratio, sum_of_parts, to_unit
from ._control_variate import LinearPart, settings_of_noise


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="B + B n_perturb_samples, and B gradients with control_variate='gradient'",
    reference="Yeh et al. 2019, arXiv:1901.09392, Definition 2.1",
)
@arguments_like(Perturbations, after={"normalize": "max_examples_per_batch"})
def infidelity(
    attributions: AttributionsType,
    normalize: bool = False,
    *,
    aggregate: str = "sum",
    control_variate: str | None = None,
    **arguments: Any,
) -> Scores:
    r"""Mean squared difference between a perturbation's effect on the output and the effect that attributions predict.

    .. math:: \frac1n \sum_{j=1}^n \bigl(\beta \langle I_j, \phi\rangle - (f(x) - f(x - I_j))\bigr)^2

    with :math:`\beta = 1`, or with ``normalize`` the :math:`\beta` that minimises this for each example,
    :math:`\sum_j \langle I_j, \phi\rangle\, d_j \,/\, \sum_j \langle I_j, \phi\rangle^2` where
    :math:`d_j = f(x) - f(x - I_j)`.

    Under `captum_ext.perturbations.gaussian` with the standard deviation :math:`\sigma`, `control_variate="gradient"`
    has the same expectation and less noise. With the gradient `g` at `x`, what it leaves of the effects
    :math:`r_j = d_j - \langle I_j, g\rangle`, and :math:`q = \beta \phi - g`, the score is

    .. math:: \sigma^2 \lVert q \rVert^2 + \frac1n \sum_{j=1}^n r_j^2 - 2 \langle I_j, q\rangle\, r_j

    which has no noise at all on a linear model. With ``normalize``, :math:`\beta` is the factor
    :math:`\langle\phi, g\rangle / \lVert\phi\rVert^2
    + \frac1n \sum_j \langle I_j, \phi\rangle\, r_j / (\sigma^2 \lVert\phi\rVert^2)`. With ``multiply_by_inputs``,
    :math:`\phi / (x - b)` takes the place of :math:`\phi`.

    The arguments are those of `captum.metrics.infidelity`, and `perturb_func` is called in the same way: on copies of
    all examples, with an example's copies side by side, in one call or, under `max_examples_per_batch`, in one call per
    chunk. It controls its own random numbers, so seed their source. If it has an argument `seed` that defaults to None,
    as the functions of `captum_ext.perturbations` do, it is passed a seed for each copy, which depends only on the
    example and the number of the draw.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the perturbations and the model's evaluations.
        baselines: if given, passed to `perturb_func` as its second argument; may be a function of the inputs.
        feature_mask: passed to a `perturb_func` that takes an argument of this name, such as `segment_removal`; may be
            a function of the inputs. Otherwise only `aggregate="mean"` uses it.
        frozen: ids of `feature_mask` that are no features, such as padding: passed to a `perturb_func` that takes an
            argument of this name, such as `segment_removal`, which never removes them.
        aggregate: `"sum"` takes the attributions of all elements as they are, as Captum does. `"mean"` is for maps that
            repeat one value over a group of `feature_mask`, as those of FeatureAblation, Shapley values and Lime, or
            over the channels, in maps with one: each element gets its equal share of the group's mean.
        control_variate: `"gradient"` for the second formula, with `gaussian` as `perturb_func` or that in
            `functools.partial`. All methods share the gradient of each example. It helps the more the further an
            explanation is from the gradient.
        seed: an int, or one per example, for a `perturb_func` that takes a seed; None follows `torch.manual_seed`.
        max_examples_per_batch: the most rows in one model call; by default as many as are fast on the device.

    Returns:
        `[B]` in squared units of the output, or a mapping name -> `[B]`. Lower is better; 0 is a perfect explanation.
        `B + B n` model rows, and `B` more with their gradients for the control variate. With it, the score is NaN where
        a gradient is not finite; where few draws would give a value below 0, it is that of the first formula.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, a
            `perturb_func` whose results do not match the rows and tensors it got; a control variate with another
            `perturb_func` than `gaussian`, or of a model that takes no gradient of its inputs.

    Reference: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392, Definition 2.1.

    Example:
        >>> w = torch.tensor([1.0, -2.0, 3.0])
        >>> def model(x):
        ...     return x @ w
        >>> def gaussian(x):
        ...     noise = 0.1 * torch.randn_like(x)
        ...     return noise, x - noise
        >>> x = torch.ones(2, 3)
        >>> maps = {"gradient": w.expand(2, 3), "zero": torch.zeros(2, 3)}
        >>> scores = infidelity(model, gaussian, x, maps, n_perturb_samples=50)
        >>> bool(scores["gradient"].max() < 1e-10 < scores["zero"].min())
        True
    """
    check_choice("aggregate", aggregate, AGGREGATES)
    normalize = check_flag("normalize", normalize)
    drawn = Perturbations(**arguments)
    methods, x = as_attributions(attributions, arguments["inputs"], arguments["target"]), drawn.inputs
    settings = None if control_variate is None else settings_of_noise(control_variate, arguments["perturb_func"])
    maps = _over_elements(methods, x, _shares(methods, x, drawn.masks) if aggregate == "mean" else None)
    if settings is None:
        difference = _mean_squared_difference
    else:
        linear, phi = LinearPart.of(drawn, arguments["inputs"], **settings), stacked([phi() for phi in maps])
        difference = partial(linear.mean_squared_difference, phi)
        maps.append(lambda: linear.gradient)
    explained, observed = _effects(drawn, maps)

    def score(draws: list[int] | slice) -> Tensor:
        return difference(explained[..., draws], observed[..., draws], normalize)

    fewest = 2 if normalize and settings is None else 1  # of a single draw, beta leaves nothing
    return methods.unpack(
        score(slice(None)), drawn.f.dtype, noise=lambda: jackknife(score, observed.shape[-1], fewest=fewest)
    )


def _effects(drawn: Perturbations, maps: list[Callable[[], Tensor]]) -> tuple[Tensor, Tensor]:
    """`[methods, B, n]`, what attributions predict for each draw, and `[B, n]`, how far the output falls."""
    explained: list[Tensor] = []

    def explain(perturbations: Tensors, example: Tensor) -> None:
        moved = flat(perturbations)
        explained.append(torch.stack([_dot(moved, phi()) for phi in maps]))

    observed = drawn.drops(explain)
    return torch.cat(explained, 2), observed


def _mean_squared_difference(explained: Tensor, observed: Tensor, normalize: bool) -> Tensor:
    """`[methods, B]`. Beta is 0 for an explanation that predicts 0 for all draws."""
    if normalize:
        explained, _ = to_unit(explained)  # beta undoes any scale
        explained = explained * ratio(
            (explained * observed).sum(-1, keepdim=True), (explained**2).sum(-1, keepdim=True)
        )
    return ((explained - observed) ** 2).mean(-1)


def _over_elements(methods: Attributions, x: Tensors, shares: list[Tensor] | None) -> list[Callable[[], Tensor]]:
    """`[B, E]` of each method, made when it is called: a map with one channel holds for every channel."""

    def of_method(method: int) -> Tensor:
        phi = flat(tuple(a.expand_as(t) for a, t in zip(methods.maps[method], x)))
        return phi if shares is None else at_least_float32(phi) * shares[method]

    return [partial(of_method, method) for method in range(len(methods.maps))]


def _shares(methods: Attributions, x: Tensors, masks: Tensors | None) -> list[Tensor]:
    """`[B, E]` of each method: 1 divided by the number of elements that share an attribution."""
    shapes = [tuple(map(shape, maps)) for maps in methods.maps]
    one_of_each = {s: Attributions(None, (maps,)) for s, maps in zip(shapes, methods.maps)}
    shares = {s: flat(Features(x, a, feature_mask=masks).shares()) for s, a in one_of_each.items()}
    return [shares[s] for s in shapes]


def _dot(perturbation: Tensor, phi: Tensor) -> Tensor:
    """`[B, draws]` from `[B * draws, E]` and `[B, E]`, a few elements at a time to save memory."""
    per_example = perturbation.unflatten(0, (len(phi), -1))
    return sum_of_parts(partial(torch.einsum, "bje,be->bj"), per_example, phi, size=2**12)


def infidelity_perturb_func_decorator(
    multiply_by_inputs: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    r"""Makes a `perturb_func` for `infidelity` from a function that returns the perturbed inputs alone.

    The perturbation is :math:`I = x - x'`, for local attributions such as gradients. With `multiply_by_inputs` it is
    :math:`I = (x - x') / (x - b)`, for global ones such as gradient times input, where a denominator of exactly 0
    counts as 1. It works as `captum.metrics.infidelity_perturb_func_decorator`, and the decorated function keeps its
    name and docstring.

    Example:
        >>> @infidelity_perturb_func_decorator(False)
        ... def half(x):
        ...     return x / 2
        >>> half(torch.tensor([[2.0, 4.0]]))
        ((tensor([[1., 2.]]),), (tensor([[1., 2.]]),))
    """
    multiply_by_inputs = check_flag("multiply_by_inputs", multiply_by_inputs)

    def decorator(perturb_func: Callable[..., Any]) -> Callable[..., Any]:
        check_perturb_func(perturb_func)

        @functools.wraps(perturb_func)
        def with_perturbations(inputs: TensorOrTuple, baselines: Any = None, **passed: Any) -> tuple[Tensors, Tensors]:
            x, extra = as_tuple(inputs), () if baselines is None else (baselines,)
            result = Guard(perturb_func, "`perturb_func`", x)(as_given(x, inputs), *extra, **passed)
            x_perturbed = as_copies(result, x, "perturbed inputs")
            moved = tuple(map(difference, x, x_perturbed))
            if not multiply_by_inputs:
                return moved, x_perturbed
            per_distance = zip(moved, map(at_least_float32, x), baseline_values(baselines, inputs))
            return tuple(ratio(at_least_float32(m), a - b) for m, a, b in per_distance), x_perturbed

        return with_perturbations

    return decorator
