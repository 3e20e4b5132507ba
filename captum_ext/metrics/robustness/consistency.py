"""Consistency (Dasgupta et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    Attributions,
    MapsType,
    Scores,
    TensorOrTuple,
    as_attributions,
    as_sequence,
    as_tuple,
    check_not_nan,
    flat,
)
from ..._core.card import metric
from ..._core.checks import (
    as_tensors,
    check_count,
    check_function,
    check_has_values,
    check_integer,
    check_real,
    describe,
    is_exact,
    shape,
)
from ..._core.features import SORTED
from ..._core.forward import Forward
from ..._core.guard import called
from ..._core.printing import printable
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.statistics import wide
from ..._core.target import NO_CLASS, largest_class

Discretize = Callable[[Tensor], Tensor]


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="B",
    reference="Dasgupta et al. 2022, arXiv:2202.00734",
)
@arguments_like(Setting, without=("baselines", "feature_mask", "target", "aggregate", "frozen"))
def consistency(
    inputs: TensorOrTuple,
    attributions: MapsType,
    other_attributions: MapsType,
    other_classes: Tensor | Sequence[int],
    *,
    n_top: int = 3,
    discretize: Discretize | None = None,
    **of_model: Any,
) -> Scores:
    r"""Among the reference examples with the same explanation, the share that has the same predicted class.

    .. math:: \frac{|\{r : \pi(\phi_r) = \pi(\phi(x)),\ \hat y_r = \hat y(x)\}|}{|\{r : \pi(\phi_r) = \pi(\phi(x))\}|}

    where :math:`\pi` makes an explanation discrete: by default it takes the `n_top` elements of largest absolute
    attribution and their signs. The references are other examples of the data set, explained beforehand by the same
    method for the same model, so a score does not depend on the batch.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        other_attributions: those of `N` other examples, in the shape of `attributions` except for the number of rows,
            or a mapping with the same names. Without a mapping, all methods share them. They must not be those of
            `inputs`, as an example agrees with itself.
        other_classes: `[N]`, the class that the model predicts for each reference: that of its largest output, or, for
            a model with one output per row, whether this output is above 0.
        n_top: the number of elements that are compared; the fewer, the more explanations are equal. Equal attributions
            are ordered by their index.
        discretize: replaces the default :math:`\pi`: a function that maps attributions `[rows, elements]` to integers
            `[rows, K]`, such as `torch.sign`. Two explanations are the same if all `K` integers are.
        activation: applied to the model's whole output.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`. Higher is better; attributions that are unrelated to the class
        score the share of references with the example's class. NaN where no reference has the example's explanation, or
        an output is NaN. `B` model rows.

    Raises:
        ValueError, TypeError: references that do not fit the attributions or each other, NaN attributions, a
            `discretize` that returns another shape.

    Reference: Dasgupta et al. 2022, "Framework for Evaluating Faithfulness of Local Explanations", arXiv:2202.00734,
    local consistency. Quantus' `Consistency` takes the rest of the batch as references and scores 0 if none of them has
    the same explanation.

    Example:
        >>> x = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        >>> # Each example's explanation is that of one reference; the second reference has another class.
        >>> consistency(lambda x: x, x, x, x + 1, [0, 0], n_top=1)
        tensor([1., 0.])
    """
    methods, x = as_attributions(attributions, as_tuple(inputs)), as_tuple(inputs)
    references = _references(other_attributions, methods)
    classes = _classes(other_classes, len(references[0])).to(x[0].device)
    n_top = check_count("n_top", n_top)
    if discretize is not None:
        check_function("discretize", discretize, "a function of attributions")
    tokens = _top(n_top) if discretize is None else discretize
    same = torch.stack([_same(flat(maps), r, tokens) for maps, r in zip(methods.maps, references)])  # [methods, B, N]
    f = Forward(inputs=x, **of_model)
    with torch.no_grad():
        predicted = torch.cat([_predicted(output) for output in f.outputs_of_whole()])
    predicted = predicted.to(same.device)
    agree = same & (predicted[:, None] == classes)
    shares = (wide(agree.sum(-1)) / same.sum(-1)).masked_fill(predicted == NO_CLASS, torch.nan)
    return methods.unpack(shares, f.dtype)


def _top(n: int) -> Discretize:
    """The indices of the `n` largest absolute values, each together with its sign."""

    def tokens(phi: Tensor) -> Tensor:
        return torch.cat([_tokens(part, n) for part in phi.split(max(SORTED // phi.shape[1], 1))])

    return tokens


def _tokens(phi: Tensor, n: int) -> Tensor:
    places = phi.abs().argsort(dim=1, descending=True, stable=True)[:, :n].sort(dim=1).values
    return 3 * places + phi.gather(1, places).sign().long()


def _same(phi: Tensor, references: Tensor, discretize: Discretize) -> Tensor:
    """`[B, N]`: whether an example and a reference have the same explanation."""
    tokens = called(discretize, "`discretize`", torch.cat((phi, references.to(phi))))
    rows = len(phi) + len(references)
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or len(tokens) != rows or not tokens.numel():
        got = shape(tokens) if isinstance(tokens, Tensor) else describe(tokens)
        raise ValueError(f"`discretize` must return `[rows, K]` for its {rows} rows of attributions, got {got}.")
    check_real("`discretize` must return", tokens)
    check_has_values("discretize", tokens, phi)
    _, kind = tokens.unique(dim=0, return_inverse=True)
    return kind[: len(phi), None] == kind[len(phi) :]


def _predicted(output: Tensor) -> Tensor:
    output = flat((output,))
    return largest_class(output) if output.shape[1] > 1 else _is_above_0(output[:, 0])


def _is_above_0(output: Tensor) -> Tensor:
    return (output > 0).long().masked_fill(output.isnan(), NO_CLASS)


def _references(value: MapsType, methods: Attributions) -> list[Tensor]:
    """`[N, elements]` for each method."""
    if not isinstance(value, Mapping):
        return [_of_method(value, maps, "other_attributions") for maps in methods.maps]
    if methods.names is None or set(value) != set(methods.names):
        names = "no mapping, as `attributions` is none" if methods.names is None else f"of {', '.join(methods.names)}"
        got = f"got a mapping of {', '.join(value)}"
        raise ValueError(printable(f"`other_attributions` must be {names}; {got}."))
    of_names = zip(methods.names, methods.maps)
    return [_of_method(value[name], maps, f"other_attributions[{name!r}]") for name, maps in of_names]


def _of_method(value: TensorOrTuple, maps: tuple[Tensor, ...], name: str) -> Tensor:
    references = as_tuple(as_tensors(value), name)
    if [r.shape[1:] for r in references] != [m.shape[1:] for m in maps]:
        raise ValueError(
            f"`{name}` must have the shape of `attributions` {[shape(m) for m in maps]} except for the rows, "
            f"got {[shape(r) for r in references]}."
        )
    for r in references:
        check_not_nan(name, r)
    return flat(references)


def _classes(value: Tensor | Sequence[int], references: int) -> Tensor:
    if isinstance(value, Tensor):
        check_real("`other_classes` must be", value)
        if not is_exact(value) or value.dtype == torch.bool:
            raise TypeError(f"`other_classes` must be of an integer type, got {value.dtype}.")
        classes = value
    else:
        found, single = as_sequence("other_classes", value)
        must = "`other_classes` must be a tensor or a list of classes, integers"
        if single:
            raise TypeError(f"{must}; got {describe(value)}.")
        classes = torch.tensor([check_integer(must, c) for c in found], dtype=torch.long, device="cpu")
    if shape(classes) != (references,):
        raise ValueError(
            f"`other_classes` must have one class for each of the {references} references, got {shape(classes)}."
        )
    return classes
